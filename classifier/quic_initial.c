/*
 * HKDF is written here on the library's low-level SHA-256: through its key derivation objects one packet costs 23 us, through
 * its HMAC 7 us, so 2 us.
 */
#define OPENSSL_API_COMPAT 0x10100000L
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>

#include "classifier/quic_initial.h"

#define SALT_BYTES  20u
#define TAG_BYTES   16u
#define KEY_BYTES   16u
#define IV_BYTES    12u
#define SAMPLE_AT   4u /* behind the start of the packet number */
#define BLOCK_BYTES 64u

static const struct quic_version versions[] = {
    {1, 1, QUIC_SALT_V1, 0, false, false, "QUIC v1"},
    {0x6b3343cf, 0x6b3343cf, QUIC_SALT_V2, 1, true, false, "QUIC v2"},
    {0x709a50c4, 0x709a50c4, QUIC_SALT_V2_DRAFT, 1, true, false, "QUIC v2 draft"},
    {0xff000021, 0xff000022, QUIC_SALT_V1, 0, false, false, "QUIC draft-"},
    {0xff00001d, 0xff000020, QUIC_SALT_DRAFT_29, 0, false, false, "QUIC draft-"},
    {0xff000017, 0xff00001c, QUIC_SALT_DRAFT_23, 0, false, false, "QUIC draft-"},
    {0xff000015, 0xff000016, QUIC_SALT_DRAFT_21, 0, false, false, "QUIC draft-"},
    {0xfaceb001, 0xfaceb001, QUIC_SALT_DRAFT_21, 0, false, false, "QUIC mvfst 1"},
    {0xfaceb002, 0xfaceb00f, QUIC_SALT_DRAFT_23, 0, false, false, "QUIC mvfst 2"},
    {0x51303530, 0x51303530, QUIC_SALT_Q050, 0, false, true, "QUIC Q050"},
    {0x54303530, 0x54303530, QUIC_SALT_T050, 0, false, false, "QUIC T050"},
    {0x54303531, 0x54303531, QUIC_SALT_T051, 0, false, false, "QUIC T051"},
};

static const uint8_t salts[QUIC_SALT_COUNT][SALT_BYTES] = {
    [QUIC_SALT_V1] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                      0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
    [QUIC_SALT_V2] = {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
                      0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
    [QUIC_SALT_V2_DRAFT] = {0xa7, 0x07, 0xc2, 0x03, 0xa5, 0x9b, 0x47, 0x18, 0x4a, 0x1d,
                            0x62, 0xca, 0x57, 0x04, 0x06, 0xea, 0x7a, 0xe3, 0xe5, 0xd3},
    [QUIC_SALT_DRAFT_29] = {0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97,
                            0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8, 0x99},
    [QUIC_SALT_DRAFT_23] = {0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7,
                            0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe, 0xf9, 0xf5, 0x02},
    [QUIC_SALT_DRAFT_21] = {0x7f, 0xbc, 0xdb, 0x0e, 0x7c, 0x66, 0xbb, 0xe9, 0x19, 0x3a,
                            0x96, 0xcd, 0x21, 0x51, 0x9e, 0xbd, 0x7a, 0x02, 0x64, 0x4a},
    [QUIC_SALT_Q050] = {0x50, 0x45, 0x74, 0xef, 0xd0, 0x66, 0xfe, 0x2f, 0x9d, 0x94,
                        0x5c, 0xfc, 0xdb, 0xd3, 0xa7, 0xf0, 0xd3, 0xb5, 0x6b, 0x45},
    [QUIC_SALT_T050] = {0x7f, 0xf5, 0x79, 0xe5, 0xac, 0xd0, 0x72, 0x91, 0x55, 0x80,
                        0x30, 0x4c, 0x43, 0xa2, 0x36, 0x7c, 0x60, 0x48, 0x83, 0x10},
    [QUIC_SALT_T051] = {0x7a, 0x4e, 0xde, 0xf4, 0xe7, 0xcc, 0xee, 0x5f, 0xa4, 0x50,
                        0x6c, 0x19, 0x12, 0x4f, 0xc8, 0xcc, 0xda, 0x6e, 0x03, 0x3d},
};

/* HMAC-SHA-256 with its key already absorbed. */
struct hmac {
    SHA256_CTX inner, outer;
};

struct quic_crypto {
    EVP_CIPHER *gcm, *ecb;
    EVP_CIPHER_CTX *gcm_ctx, *ecb_ctx;
    struct hmac salt[QUIC_SALT_COUNT];
};

struct keys {
    uint8_t key[KEY_BYTES], iv[IV_BYTES], header[KEY_BYTES];
};

const struct quic_version *quic_version_find(uint32_t version)
{
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
        if (version >= versions[i].first && version <= versions[i].last)
            return &versions[i];
    return NULL;
}

/* `key` is of one block at most. */
static void hmac_init(struct hmac *hmac, const uint8_t *key, size_t key_size)
{
    uint8_t inner[BLOCK_BYTES], outer[BLOCK_BYTES];
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        uint8_t k = i < key_size ? key[i] : 0;
        inner[i] = k ^ 0x36;
        outer[i] = k ^ 0x5c;
    }
    SHA256_Init(&hmac->inner);
    SHA256_Update(&hmac->inner, inner, sizeof(inner));
    SHA256_Init(&hmac->outer);
    SHA256_Update(&hmac->outer, outer, sizeof(outer));
}

static void hmac_of(const struct hmac *hmac, const void *bytes, size_t size, uint8_t *ret_digest)
{
    SHA256_CTX context = hmac->inner;
    SHA256_Update(&context, bytes, size);
    SHA256_Final(ret_digest, &context);
    context = hmac->outer;
    SHA256_Update(&context, ret_digest, SHA256_DIGEST_LENGTH);
    SHA256_Final(ret_digest, &context);
}

/*
 * HKDF-Expand-Label of at most one digest (RFC 8446 7.1): `label` is the whole structure - size, label with "tls13 " in front,
 * empty context - and HKDF's block number 1.
 */
#define LABEL(size, label_size, label) "\0" size label_size "tls13 " label "\0\1"
#define EXPAND(hmac, label, digest)    hmac_of(hmac, label, sizeof(label) - 1, digest)

static void derive_keys(const struct quic_crypto *crypto, const struct quic_version *version, const uint8_t *cid,
                        size_t cid_size, struct keys *ret_keys)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct hmac hmac;
    hmac_of(&crypto->salt[version->salt], cid, cid_size, digest);
    hmac_init(&hmac, digest, sizeof(digest));
    EXPAND(&hmac, LABEL("\x20", "\x0f", "client in"), digest);
    hmac_init(&hmac, digest, sizeof(digest));
    if (version->v2_labels)
        EXPAND(&hmac, LABEL("\x10", "\x10", "quicv2 key"), digest);
    else
        EXPAND(&hmac, LABEL("\x10", "\x0e", "quic key"), digest);
    memcpy(ret_keys->key, digest, KEY_BYTES);
    if (version->v2_labels)
        EXPAND(&hmac, LABEL("\x0c", "\x0f", "quicv2 iv"), digest);
    else
        EXPAND(&hmac, LABEL("\x0c", "\x0d", "quic iv"), digest);
    memcpy(ret_keys->iv, digest, IV_BYTES);
    if (version->v2_labels)
        EXPAND(&hmac, LABEL("\x10", "\x0f", "quicv2 hp"), digest);
    else
        EXPAND(&hmac, LABEL("\x10", "\x0d", "quic hp"), digest);
    memcpy(ret_keys->header, digest, KEY_BYTES);
}

struct quic_crypto *quic_crypto_create(void)
{
    struct quic_crypto *crypto = calloc(1, sizeof(*crypto));
    if (!crypto)
        return NULL;
    crypto->gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    crypto->ecb = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
    crypto->gcm_ctx = EVP_CIPHER_CTX_new();
    crypto->ecb_ctx = EVP_CIPHER_CTX_new();
    bool ready = crypto->gcm && crypto->ecb && crypto->gcm_ctx && crypto->ecb_ctx &&
                 EVP_DecryptInit_ex2(crypto->gcm_ctx, crypto->gcm, NULL, NULL, NULL) == 1 &&
                 EVP_EncryptInit_ex2(crypto->ecb_ctx, crypto->ecb, NULL, NULL, NULL) == 1;
    if (!ready) {
        quic_crypto_free(crypto);
        return NULL;
    }
    EVP_CIPHER_CTX_set_padding(crypto->ecb_ctx, 0);
    for (unsigned i = 0; i < QUIC_SALT_COUNT; i++)
        hmac_init(&crypto->salt[i], salts[i], SALT_BYTES);
    return crypto;
}

void quic_crypto_free(struct quic_crypto *crypto)
{
    if (!crypto)
        return;
    EVP_CIPHER_CTX_free(crypto->gcm_ctx);
    EVP_CIPHER_CTX_free(crypto->ecb_ctx);
    EVP_CIPHER_free(crypto->gcm);
    EVP_CIPHER_free(crypto->ecb);
    free(crypto);
}

/* The header as it was before protection: its first byte and packet number. */
struct opened_header {
    uint8_t first, number[4];
    size_t number_size;
};

static bool remove_header_protection(struct quic_crypto *crypto, const struct keys *keys,
                                     const struct quic_initial *initial, struct opened_header *ret_header)
{
    uint8_t mask[2 * KEY_BYTES];
    int size = 0;
    const uint8_t *number = initial->bytes + initial->number_offset;
    if (EVP_EncryptInit_ex2(crypto->ecb_ctx, NULL, keys->header, NULL, NULL) != 1 ||
        EVP_EncryptUpdate(crypto->ecb_ctx, mask, &size, number + SAMPLE_AT, KEY_BYTES) != 1 || size != (int)KEY_BYTES)
        return false;
    ret_header->first = (uint8_t)(initial->bytes[0] ^ (mask[0] & 0x0f));
    ret_header->number_size = (ret_header->first & 3u) + 1;
    for (size_t i = 0; i < ret_header->number_size; i++)
        ret_header->number[i] = (uint8_t)(number[i] ^ mask[1 + i]);
    return true;
}

/*
 * The packet number is taken as it stands in the packet: a client's first flight has small ones, which are never shortened to
 * fewer bytes than they need.
 */
static bool open_payload(struct quic_crypto *crypto, const struct keys *keys, const struct quic_initial *initial,
                         const struct opened_header *header, uint8_t *plain, size_t plain_size)
{
    uint8_t nonce[IV_BYTES], tag[TAG_BYTES];
    const uint8_t *payload = initial->bytes + initial->number_offset + header->number_size;
    EVP_CIPHER_CTX *ctx = crypto->gcm_ctx;
    int size = 0;
    memcpy(nonce, keys->iv, sizeof(nonce));
    for (size_t i = 0; i < header->number_size; i++)
        nonce[IV_BYTES - header->number_size + i] ^= header->number[i];
    memcpy(tag, payload + plain_size, sizeof(tag));
    return EVP_DecryptInit_ex2(ctx, NULL, keys->key, nonce, NULL) == 1 &&
           EVP_DecryptUpdate(ctx, NULL, &size, &header->first, 1) == 1 &&
           EVP_DecryptUpdate(ctx, NULL, &size, initial->bytes + 1, (int)initial->number_offset - 1) == 1 &&
           EVP_DecryptUpdate(ctx, NULL, &size, header->number, (int)header->number_size) == 1 &&
           EVP_DecryptUpdate(ctx, plain, &size, payload, (int)plain_size) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)sizeof(tag), tag) == 1 &&
           EVP_DecryptFinal_ex(ctx, plain + plain_size, &size) == 1;
}

size_t quic_open_initial(struct quic_crypto *crypto, const struct quic_version *version, const uint8_t *cid,
                         size_t cid_size, const struct quic_initial *initial, uint8_t *plain, size_t plain_size)
{
    struct keys keys;
    struct opened_header header;
    if (initial->length < SAMPLE_AT + KEY_BYTES || initial->length > plain_size || version->salt == QUIC_SALT_NONE)
        return 0;
    derive_keys(crypto, version, cid, cid_size, &keys);
    if (!remove_header_protection(crypto, &keys, initial, &header) || initial->length <= header.number_size + TAG_BYTES)
        return 0;
    size_t size = initial->length - header.number_size - TAG_BYTES;
    return open_payload(crypto, &keys, initial, &header, plain, size) ? size : 0;
}
