#include "classifier/inspect.h"

/* One line for each classifier/inspect_NAME.c: its declaration, and its place in the table. */
#define CL_INSPECTORS(X) X(http) X(tls) X(dtls) X(quic) X(dns) X(ssh)

#define X(name) extern const struct cl_inspector cl_inspector_##name;
CL_INSPECTORS(X)
#undef X

#define X(name) &cl_inspector_##name,
const struct cl_inspector *const cl_inspectors[] = {CL_INSPECTORS(X) NULL};
#undef X
