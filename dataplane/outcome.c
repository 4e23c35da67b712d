#include "dataplane/outcome.h"

static const struct {
    enum dp_fate fate;
    const char *reason, *text;
} outcomes[DP_OUTCOME_COUNT] = {
#define X(fate, reason, text) [DP_OUTCOME_##reason] = {DP_FATE_##fate, #reason, text},
    DP_OUTCOMES(X)
#undef X
};

static const struct {
    const char *reason, *text;
} parse_results[DP_PARSE_RESULT_COUNT] = {
#define X(name, text) [DP_PARSE_##name] = {#name, text},
    DP_PARSE_RESULTS(X)
#undef X
};

enum dp_fate dp_outcome_fate(unsigned outcome)
{
    return outcome < DP_OUTCOME_UNPARSED ? outcomes[outcome].fate : DP_FATE_BYPASSED;
}

const char *dp_outcome_reason(unsigned outcome)
{
    return outcome < DP_OUTCOME_UNPARSED ? outcomes[outcome].reason
                                         : parse_results[outcome - DP_OUTCOME_UNPARSED + 1].reason;
}

const char *dp_outcome_text(unsigned outcome)
{
    return outcome < DP_OUTCOME_UNPARSED ? outcomes[outcome].text
                                         : parse_results[outcome - DP_OUTCOME_UNPARSED + 1].text;
}

const char *dp_fate_name(enum dp_fate fate)
{
    static const char *const names[DP_FATE_COUNT] = {"forwarded", "dropped", "bypassed", "handed"};
    return names[fate];
}
