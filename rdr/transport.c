#include "rdr/transport.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int resolve(const char *host, uint16_t port, struct addrinfo **ret_addresses)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int error = getaddrinfo(host, service, &hints, ret_addresses);
    if (error == EAI_NONAME) {
        hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
        error = getaddrinfo(host, service, &hints, ret_addresses);
    }
    return !error ? 0 : error == EAI_SYSTEM ? -errno : -EHOSTUNREACH;
}

int rdr_transport_connect(const char *host, uint16_t port, unsigned attempt, unsigned timeout_ms)
{
    struct addrinfo *addresses;
    int error = resolve(host, port, &addresses);
    if (error)
        return error;
    unsigned length = 0;
    for (struct addrinfo *a = addresses; a; a = a->ai_next)
        length++;
    struct addrinfo *address = addresses;
    for (unsigned i = 0; i < attempt % length; i++)
        address = address->ai_next;

    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error = -errno;
    } else {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
        if (connect(fd, address->ai_addr, address->ai_addrlen) && errno != EINPROGRESS)
            error = -errno;
    }
    freeaddrinfo(addresses);
    if (error && fd >= 0)
        close(fd);
    return error ? error : fd;
}

int rdr_transport_connect_result(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
        return -errno;
    return -error;
}

int rdr_transport_send(int fd, const uint8_t *bytes, size_t size)
{
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return (int)sent;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

uint32_t rdr_transport_unacknowledged_bytes(int fd)
{
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) || bytes < 0 ? 0 : (uint32_t)bytes;
}

int rdr_transport_discard_input(int fd)
{
    uint8_t bytes[4096];
    for (;;) {
        ssize_t taken = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (taken == 0)
            return -EPIPE;
        if (taken < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
}
