/*
 * The fields of every record, in wire order, written once: rdr/schema.c makes the schema table of them, and the enums at the
 * end name their positions (RDR_TUR_SERVER_IP), so that whoever fills a record does not count by hand.
 *
 * X(name, type, other type that the decoder takes too or 0, unit, note). Sources, cited in docs/rdr.md: two public collectors
 * (github.com/illarionov/rdr2netflow, github.com/gitpan/RDR-Collector), which agree on order and, for the transaction
 * family, on types.
 */
#pragma once

#define RDR_FIELDS_TRANSACTION_BEGIN(X)                                                                                \
    X(SUBSCRIBER_ID, RDR_STRING, 0, "", "at most 64 bytes; empty when not known")                                      \
    X(PACKAGE_ID, RDR_INT16, RDR_UINT16, "", "0..4999; sources disagree on the sign, both are taken")                  \
    X(SERVICE_ID, RDR_INT32, 0, "", "")                                                                                \
    X(PROTOCOL_ID, RDR_INT16, 0, "", "")

#define RDR_FIELDS_TRANSACTION_REST(X)                                                                                 \
    X(SERVER_IP, RDR_UINT32, 0, "IPv4", "destination of the first packet")                                             \
    X(SERVER_PORT, RDR_UINT16, 0, "", "0 for IP protocols without ports")                                              \
    X(ACCESS_STRING, RDR_STRING, 0, "", "HTTP: host; else by protocol or empty")                                       \
    X(INFO_STRING, RDR_STRING, 0, "", "HTTP: URL; else by protocol or empty")                                          \
    X(CLIENT_IP, RDR_UINT32, 0, "IPv4", "initiator")                                                                   \
    X(CLIENT_PORT, RDR_UINT16, 0, "", "")                                                                              \
    X(INITIATING_SIDE, RDR_INT8, 0, "", "0 subscriber, 1 network")                                                     \
    X(REPORT_TIME, RDR_UINT32, 0, "UNIX seconds", "")                                                                  \
    X(MILLISEC_DURATION, RDR_UINT32, 0, "ms", "from the start of the flow, also in interim records")                   \
    X(TIME_FRAME, RDR_INT8, 0, "", "0..3")                                                                             \
    X(SESSION_UPSTREAM_VOLUME, RDR_UINT32, 0, "bytes", "since the previous record of the flow")                        \
    X(SESSION_DOWNSTREAM_VOLUME, RDR_UINT32, 0, "bytes", "since the previous record of the flow")                      \
    X(SUBSCRIBER_COUNTER_ID, RDR_UINT16, 0, "", "")                                                                    \
    X(GLOBAL_COUNTER_ID, RDR_UINT16, 0, "", "")                                                                        \
    X(PACKAGE_COUNTER_ID, RDR_UINT16, 0, "", "")                                                                       \
    X(IP_PROTOCOL, RDR_UINT8, 0, "", "")                                                                               \
    X(PROTOCOL_SIGNATURE, RDR_INT32, 0, "", "")                                                                        \
    X(ZONE_ID, RDR_INT32, 0, "", "")                                                                                   \
    X(FLAVOR_ID, RDR_INT32, 0, "", "")                                                                                 \
    X(FLOW_CLOSE_MODE, RDR_UINT8, 0, "", "0 closed by FIN or RST, 1 aged, 2 closed for lack of resources")

/* TRANSACTION: 25 fields. SKIPPED_SESSIONS is signed here and unsigned in the usage family. */
#define RDR_FIELDS_TR(X)                                                                                               \
    RDR_FIELDS_TRANSACTION_BEGIN(X)                                                                                    \
    X(SKIPPED_SESSIONS, RDR_INT32, 0, "", "flows that this one stands for; 1 = no other was skipped")                  \
    RDR_FIELDS_TRANSACTION_REST(X)

/* TRANSACTION_USAGE: 25 fields, and the beginning of its whole family. */
#define RDR_FIELDS_TUR(X)                                                                                              \
    RDR_FIELDS_TRANSACTION_BEGIN(X)                                                                                    \
    X(SKIPPED_SESSIONS, RDR_UINT32, 0, "", "1; later releases call it GENERATION_REASON")                              \
    RDR_FIELDS_TRANSACTION_REST(X)

#define RDR_FIELDS_LINK_AND_IPV6(X)                                                                                    \
    X(LINK_ID, RDR_INT8, 0, "", "")                                                                                    \
    X(IP_TYPE, RDR_UINT8, 0, "", "0 IPv4, 1 IPv6")                                                                     \
    X(SERVER_IPV6, RDR_STRING, 0, "IPv6 text", "SERVER_IP is 0 then")                                                  \
    X(CLIENT_IPV6, RDR_STRING, 0, "IPv6 text", "CLIENT_IP is 0 then")

/* TRANSACTION_USAGE of later releases: 29 fields. */
#define RDR_FIELDS_TUR_IPV6(X)                                                                                         \
    RDR_FIELDS_TUR(X)                                                                                                  \
    RDR_FIELDS_LINK_AND_IPV6(X)

/* HTTP_TRANSACTION_USAGE: 27 fields. */
#define RDR_FIELDS_HTTP(X)                                                                                             \
    RDR_FIELDS_TUR(X)                                                                                                  \
    X(USER_AGENT, RDR_STRING, 0, "", "")                                                                               \
    X(HTTP_URL, RDR_STRING, 0, "", "")

/* HTTP_TRANSACTION_USAGE of later releases: 49 fields. No URL of its own (INFO_STRING has it); one source only. */
#define RDR_FIELDS_HTTP_IPV6(X)                                                                                        \
    RDR_FIELDS_TUR(X)                                                                                                  \
    X(USER_AGENT, RDR_STRING, 0, "", "")                                                                               \
    X(HTTP_REFERER, RDR_STRING, 0, "", "")                                                                             \
    X(HTTP_COOKIE, RDR_STRING, 0, "", "")                                                                              \
    RDR_FIELDS_LINK_AND_IPV6(X)                                                                                        \
    X(ATTRIBUTE_INDICATOR, RDR_UINT32, 0, "", "which of the attributes that follow are set; 0 = none")                 \
    X(ACCT_MULTI_SESSION_ID, RDR_STRING, 0, "", "")                                                                    \
    X(ACCT_SESSION_ID, RDR_STRING, 0, "", "")                                                                          \
    X(FRAMED_IP_ADDRESS, RDR_UINT32, 0, "IPv4", "")                                                                    \
    X(CALLED_STATION_ID, RDR_UINT32, 0, "", "integer in the one source, where text is to be expected")                 \
    X(3GPP_IMEISV, RDR_STRING, 0, "", "")                                                                              \
    X(3GPP_IMSI, RDR_STRING, 0, "", "")                                                                                \
    X(3GPP_RAT_TYPE, RDR_STRING, 0, "", "")                                                                            \
    X(3GPP_SGSN_ADDRESS, RDR_UINT32, 0, "IPv4", "")                                                                    \
    X(3GPP_SGSN_MCC_MNC, RDR_STRING, 0, "", "")                                                                        \
    X(3GPP_USER_LOCATION_INFO, RDR_STRING, 0, "", "")                                                                  \
    X(WIMAX_BSID, RDR_STRING, 0, "", "")                                                                               \
    X(3GPP2_MEID, RDR_STRING, 0, "", "")                                                                               \
    X(3GPP2_ESN, RDR_STRING, 0, "", "")                                                                                \
    X(3GPP2_PCF_IP_ADDRESS, RDR_UINT32, 0, "IPv4", "")                                                                 \
    X(3GPP2_HOME_AGENT_IP_ADDRESS, RDR_UINT32, 0, "IPv4", "")                                                          \
    X(FRAMED_IPV6_PREFIX, RDR_STRING, 0, "", "")

/* FLOW_START and FLOW_END: 14 fields. */
#define RDR_FIELDS_FLOW(X)                                                                                             \
    X(SUBSCRIBER_ID, RDR_STRING, 0, "", "")                                                                            \
    X(PACKAGE_ID, RDR_INT16, RDR_UINT16, "", "as in TRANSACTION")                                                      \
    X(SERVICE_ID, RDR_INT32, 0, "", "")                                                                                \
    X(IP_PROTOCOL, RDR_UINT8, 0, "", "")                                                                               \
    X(SERVER_IP, RDR_UINT32, 0, "IPv4", "")                                                                            \
    X(SERVER_PORT, RDR_UINT16, 0, "", "")                                                                              \
    X(CLIENT_IP, RDR_UINT32, 0, "IPv4", "")                                                                            \
    X(CLIENT_PORT, RDR_UINT16, 0, "", "")                                                                              \
    X(INITIATING_SIDE, RDR_INT8, 0, "", "0 subscriber, 1 network")                                                     \
    X(START_TIME, RDR_UINT32, 0, "UNIX seconds", "")                                                                   \
    X(REPORT_TIME, RDR_UINT32, 0, "UNIX seconds", "")                                                                  \
    X(BREACH_STATE, RDR_INT8, 0, "", "0 not breached, 1 breached")                                                     \
    X(FLOW_ID, RDR_UINT32, 0, "", "")                                                                                  \
    X(GENERATOR_ID, RDR_INT8, 0, "", "traffic processor")

/* LINK_USAGE: 13 fields. */
#define RDR_FIELDS_LUR(X)                                                                                              \
    X(LINK_ID, RDR_INT8, 0, "", "")                                                                                    \
    X(GENERATOR_ID, RDR_INT8, 0, "", "traffic processor")                                                              \
    X(SERVICE_USAGE_COUNTER_ID, RDR_UINT16, 0, "", "")                                                                 \
    X(CONFIGURED_DURATION, RDR_UINT32, 0, "s", "nominal period")                                                       \
    X(DURATION, RDR_UINT32, 0, "s", "real period")                                                                     \
    X(END_TIME, RDR_UINT32, 0, "UNIX seconds", "")                                                                     \
    X(UPSTREAM_VOLUME, RDR_UINT32, 0, "kilobytes", "")                                                                 \
    X(DOWNSTREAM_VOLUME, RDR_UINT32, 0, "kilobytes", "")                                                               \
    X(SESSIONS, RDR_UINT32, 0, "", "")                                                                                 \
    X(SECONDS, RDR_UINT32, 0, "s", "")                                                                                 \
    X(CONCURRENT_SESSIONS, RDR_UINT32, 0, "", "")                                                                      \
    X(ACTIVE_SUBSCRIBERS, RDR_UINT32, 0, "", "")                                                                       \
    X(TOTAL_ACTIVE_SUBSCRIBERS, RDR_UINT32, 0, "", "")

/* Positions, from 0: RDR_TR_SUBSCRIBER_ID ... RDR_TR_FIELDS. What TUR begins, the rest of its family continues. */
#define RDR_POSITION(prefix, name) prefix##name
#define X(name, ...)               RDR_POSITION(RDR_TR_, name),
enum { RDR_FIELDS_TR(X) RDR_TR_FIELDS };
#undef X
#define X(name, ...) RDR_POSITION(RDR_TUR_, name),
enum { RDR_FIELDS_TUR(X) RDR_TUR_FIELDS };
#undef X
#define X(name, ...) RDR_POSITION(RDR_TUR_IPV6_, name),
enum { RDR_FIELDS_TUR_IPV6(X) RDR_TUR_IPV6_FIELDS };
#undef X
#define X(name, ...) RDR_POSITION(RDR_HTTP_, name),
enum { RDR_FIELDS_HTTP(X) RDR_HTTP_FIELDS };
#undef X
#define X(name, ...) RDR_POSITION(RDR_HTTP_IPV6_, name),
enum { RDR_FIELDS_HTTP_IPV6(X) RDR_HTTP_IPV6_FIELDS };
#undef X
#define X(name, ...) RDR_POSITION(RDR_FLOW_, name),
enum { RDR_FIELDS_FLOW(X) RDR_FLOW_FIELDS };
#undef X
#define X(name, ...) RDR_POSITION(RDR_LUR_, name),
enum { RDR_FIELDS_LUR(X) RDR_LUR_FIELDS };
#undef X
