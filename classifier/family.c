#include <string.h>

#include "classifier/pack.h"

/*
 * Families of protocols and, until there is a service configuration, the service that each is counted under: the services
 * of SCA BB's default configuration. Ids are ours.
 */
#define SERVICES(X)                                                                                                    \
    X(default_service, "Default Service", 0)                                                                           \
    X(generic, "Generic", 1)                                                                                           \
    X(browsing, "Browsing", 2)                                                                                         \
    X(e_mail, "E-Mail", 3)                                                                                             \
    X(newsgroups, "Newsgroups", 4)                                                                                     \
    X(ftp, "FTP", 5)                                                                                                   \
    X(instant_messaging, "Instant Messaging", 6)                                                                       \
    X(p2p, "P2P", 7)                                                                                                   \
    X(streaming, "Streaming", 8)                                                                                       \
    X(gaming, "Gaming", 9)                                                                                             \
    X(voip, "VoIP", 10)                                                                                                \
    X(tunneling, "Tunneling", 11)                                                                                      \
    X(net_admin, "Net Admin", 12)                                                                                      \
    X(file_sharing, "Commercial File Sharing", 13)
enum {
#define X(id, name, number) SERVICE_##id = number,
    SERVICES(X)
#undef X
};
#define X(id, name, number) static const char NAME_##id[] = name;
SERVICES(X)
#undef X

#define FAMILIES(X)                                                                                                    \
    X("web", browsing)                                                                                                 \
    X("mail", e_mail)                                                                                                  \
    X("news", newsgroups)                                                                                              \
    X("ftp", ftp)                                                                                                      \
    X("messaging", instant_messaging)                                                                                  \
    X("social", browsing)                                                                                              \
    X("p2p", p2p)                                                                                                      \
    X("streaming", streaming)                                                                                          \
    X("gaming", gaming)                                                                                                \
    X("voip", voip)                                                                                                    \
    X("tunneling", tunneling)                                                                                          \
    X("names", net_admin)                                                                                              \
    X("management", net_admin)                                                                                         \
    X("routing", net_admin)                                                                                            \
    X("remote", net_admin)                                                                                             \
    X("authentication", net_admin)                                                                                     \
    X("telecom", net_admin)                                                                                            \
    X("storage", file_sharing)                                                                                         \
    X("cloud", file_sharing)                                                                                           \
    X("database", default_service)                                                                                     \
    X("middleware", default_service)                                                                                   \
    X("industrial", default_service)                                                                                   \
    X("mining", default_service)                                                                                       \
    X("other", default_service)                                                                                        \
    X("generic", generic)

#define X(name, service) {name, NAME_##service, SERVICE_##service},
static const struct cl_family families[] = {FAMILIES(X)};
#undef X
#define X(name, service) name,
const char *const cl_family_names[] = {FAMILIES(X) NULL};
#undef X

const struct cl_family *cl_family_find(const char *name)
{
    for (unsigned i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].name, name))
            return &families[i];
    return NULL;
}
