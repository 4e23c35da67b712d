#include <string.h>

#include "classifier/classifier.h"

#define X(name) #name,
static const char *const method_names[] = {CL_METHODS(X)};
static const char *const way_names[] = {CL_WAYS(X)};
static const char *const text_names[] = {CL_TEXTS(X)};
#undef X

const char *cl_method_name(enum cl_method method)
{
    return (unsigned)method < CL_METHOD_COUNT ? method_names[method] : method_names[CL_METHOD_none];
}

const char *cl_way_name(enum cl_way way)
{
    return (unsigned)way < CL_WAY_COUNT ? way_names[way] : "";
}

const char *cl_text_name(enum cl_text text)
{
    return (unsigned)text < CL_TEXT_COUNT ? text_names[text] : "";
}

void cl_info_set(struct cl_info *info, enum cl_text text, const void *bytes, size_t size)
{
    if (info->size_bytes[text] || !size)
        return;
    if (size > CL_TEXT_MAX_BYTES)
        size = CL_TEXT_MAX_BYTES;
    memcpy(info->text[text], bytes, size);
    info->size_bytes[text] = (uint8_t)size;
}
