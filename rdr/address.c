#include "rdr/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int rdr_address_parse(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':'), *host = text;
    if (!colon || colon == text)
        return -EINVAL;
    size_t size = (size_t)(colon - text), digits = strspn(colon + 1, "0123456789");
    if (*text == '[') {
        if (size < 3 || colon[-1] != ']')
            return -EINVAL;
        host = text + 1;
        size -= 2;
    } else if (memchr(text, ':', size)) {
        return -EINVAL; /* an IPv6 address without brackets: where the port begins is a guess */
    }
    unsigned long port = strtoul(colon + 1, NULL, 10);
    if (!digits || digits > 5 || colon[1 + digits] || port > UINT16_MAX || size >= host_size)
        return -EINVAL;
    memcpy(ret_host, host, size);
    ret_host[size] = 0;
    *ret_port = (uint16_t)port;
    return 0;
}
