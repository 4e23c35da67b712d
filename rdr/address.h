/* HOST:PORT and [IPV6]:PORT, as every command line and configuration writes a collector. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* 0, or -EINVAL when the text is neither form, the host does not fit, or the port is not 0..65535. */
int rdr_address_parse(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port);
