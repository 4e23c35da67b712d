/*
 * Messages for operators, on stderr: one line each, "sce: part: text". Control threads only; never from a stage.
 * With JOURNAL_STREAM set a line carries the syslog level in front ("<4>"), as journald reads it.
 */
#pragma once

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_INFO = 6, LOG_DEBUG = 7 };

/* Messages above this level are not printed; LOG_INFO at start. Set before threads start. */
extern enum log_level log_level_max;

__attribute__((format(printf, 3, 4))) void log_line(enum log_level level, const char *part, const char *format, ...);
