/*
 * Initial packets of QUIC: key derivation from the client's first connection id (RFC 9001 5.2, RFC 9369 3.3, earlier
 * drafts and Google's Q050/T05x with their own salts), header protection, AES-128-GCM with its tag checked.
 *
 * One quic_crypto a worker: ciphers are fetched once, each salt's HMAC state is kept. Cost of opening a packet of 1,200 bytes:
 * about 2 us, no allocation.
 */
#pragma once

#include "base/cursor.h"

#define QUIC_CID_MAX_BYTES 20u

enum quic_salt {
    QUIC_SALT_NONE, /* seen by its header alone */
    QUIC_SALT_V1,
    QUIC_SALT_V2,
    QUIC_SALT_V2_DRAFT,
    QUIC_SALT_DRAFT_29,
    QUIC_SALT_DRAFT_23,
    QUIC_SALT_DRAFT_21,
    QUIC_SALT_Q050,
    QUIC_SALT_T050,
    QUIC_SALT_T051,
    QUIC_SALT_COUNT
};

struct quic_version {
    uint32_t first, last; /* a range of version numbers */
    uint8_t salt;         /* enum quic_salt */
    uint8_t initial_type; /* the long header's type bits of an Initial */
    bool v2_labels;
    bool has_chlo;    /* Google's handshake message, not TLS, in the CRYPTO stream */
    const char *name; /* a range's number is appended where it ends in '-' */
};
/* NULL for a version that is not known. Any thread. */
const struct quic_version *quic_version_find(uint32_t version);

/* An Initial as its header says; `bytes` from its first byte. */
struct quic_initial {
    const uint8_t *bytes;
    size_t number_offset; /* of the protected packet number */
    size_t length;        /* packet number, payload and tag */
};

struct quic_crypto;
/* NULL when memory is short or the library lacks a cipher. Control thread. */
struct quic_crypto *quic_crypto_create(void);
void quic_crypto_free(struct quic_crypto *crypto);

/*
 * Opens an Initial that a client sent, with the keys that `cid` gives. Returns the size of the frames in `plain`, 0 when the tag
 * is not right, the packet does not fit `plain_size`, or it is too short to be protected. The worker that owns `crypto`.
 */
size_t quic_open_initial(struct quic_crypto *crypto, const struct quic_version *version, const uint8_t *cid,
                         size_t cid_size, const struct quic_initial *initial, uint8_t *plain, size_t plain_size);
