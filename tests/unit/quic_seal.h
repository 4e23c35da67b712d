/*
 * Seals Initial packets as a client would (RFC 9001, RFC 9369), through the library's own key derivation, so that the inspector's
 * is measured against another one. For unit tests and fuzz targets; failures abort.
 */
#pragma once

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUIC_SEAL_CID_BYTES      8u
#define QUIC_SEAL_OVERHEAD_BYTES 38u /* what a packet has besides its frames */
#define QUIC_SEAL_NUMBER_AT      18u

struct quic_seal_version {
    uint32_t number;
    const char *salt, *key, *iv, *hp; /* salt in hexadecimal */
    uint8_t first;                    /* byte of an Initial, unprotected, with a packet number of 4 bytes */
    const char *name;
};

struct quic_seal_keys {
    uint8_t key[16], iv[12], hp[16];
};

static inline void quic_seal_check(bool holds)
{
    if (!holds)
        abort();
}

static inline size_t unhex(const char *hex, uint8_t *ret_bytes)
{
    size_t size = strlen(hex) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        quic_seal_check(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        ret_bytes[i] = (uint8_t)byte;
    }
    return size;
}

static inline void quic_seal_hkdf(int mode, const void *key, size_t key_size, const void *salt, size_t salt_size,
                                  const void *info, size_t info_size, uint8_t *ret_out, size_t out_size)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[6], *p = params;
    *p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_size);
    if (salt_size)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_size);
    if (info_size)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_size);
    *p = OSSL_PARAM_construct_end();
    quic_seal_check(EVP_KDF_derive(context, ret_out, out_size, params) == 1);
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
}

static inline void quic_seal_expand(const uint8_t *secret, const char *label, uint8_t *ret_out, size_t out_size)
{
    uint8_t info[64] = {0, (uint8_t)out_size, (uint8_t)(6 + strlen(label))};
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, strlen(label));
    quic_seal_hkdf(EVP_KDF_HKDF_MODE_EXPAND_ONLY, secret, 32, NULL, 0, info, 10 + strlen(label), ret_out, out_size);
}

static inline struct quic_seal_keys quic_seal_keys_of(const struct quic_seal_version *v, const char *cid)
{
    uint8_t salt[20], initial[32], secret[32];
    struct quic_seal_keys keys;
    unhex(v->salt, salt);
    quic_seal_hkdf(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, cid, QUIC_SEAL_CID_BYTES, salt, sizeof(salt), NULL, 0, initial, 32);
    quic_seal_expand(initial, "client in", secret, 32);
    quic_seal_expand(secret, v->key, keys.key, 16);
    quic_seal_expand(secret, v->iv, keys.iv, 12);
    quic_seal_expand(secret, v->hp, keys.hp, 16);
    return keys;
}

/* Writes a packet to `cid` of `size` bytes of frames (3 at least, 16,000 at most); returns its size. */
static inline size_t quic_seal(const struct quic_seal_version *v, const struct quic_seal_keys *keys, const char *cid,
                               uint32_t number, const uint8_t *frames, size_t size, uint8_t *ret_packet)
{
    uint8_t *at = ret_packet, nonce[12], mask[32];
    size_t length = size + 20;
    *at++ = v->first;
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(v->number >> shift);
    *at++ = QUIC_SEAL_CID_BYTES;
    memcpy(at, cid, QUIC_SEAL_CID_BYTES);
    at += QUIC_SEAL_CID_BYTES;
    *at++ = 0; /* source id, token */
    *at++ = 0;
    *at++ = (uint8_t)(0x40 | length >> 8);
    *at++ = (uint8_t)length;
    memcpy(nonce, keys->iv, sizeof(nonce));
    for (unsigned i = 0; i < 4; i++) {
        *at = (uint8_t)(number >> (24 - 8 * i));
        nonce[8 + i] ^= *at++;
    }
    int written;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(context, EVP_aes_128_gcm(), NULL, keys->key, nonce);
    EVP_EncryptUpdate(context, NULL, &written, ret_packet, (int)(at - ret_packet));
    EVP_EncryptUpdate(context, at, &written, frames, (int)size);
    EVP_EncryptFinal_ex(context, at + size, &written);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, at + size);
    EVP_EncryptInit_ex(context, EVP_aes_128_ecb(), NULL, keys->hp, NULL);
    EVP_EncryptUpdate(context, mask, &written, ret_packet + QUIC_SEAL_NUMBER_AT + 4, 16);
    EVP_CIPHER_CTX_free(context);
    ret_packet[0] ^= mask[0] & 0x0f;
    for (unsigned i = 0; i < 4; i++)
        ret_packet[QUIC_SEAL_NUMBER_AT + i] ^= mask[1 + i];
    return size + QUIC_SEAL_OVERHEAD_BYTES;
}
