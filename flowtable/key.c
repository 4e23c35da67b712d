#include "flowtable/key.h"

/* The 16-bit key word that makes Toeplitz symmetric. */
#define SYMMETRIC_KEY 0x6d5au

/*
 * Toeplitz: for each set bit i of the input (from the first on), XOR in the 32 key bits from bit i on. With a key of
 * period 16 that window depends on i mod 16 alone, hence only on the XOR of all 16-bit words of the input; and its two
 * halves are equal: the key word rotated left by i. The hash of a 16-bit word is a table look-up a byte.
 */
#define ROTATED(bit)    ((SYMMETRIC_KEY << (bit) | SYMMETRIC_KEY >> (16 - (bit))) & 0xffffu)
#define BIT(byte, n, i) ((byte) >> (n)&1 ? ROTATED(i) : 0u)
#define HIGH(byte)                                                                                                     \
    (BIT(byte, 7, 0) ^ BIT(byte, 6, 1) ^ BIT(byte, 5, 2) ^ BIT(byte, 4, 3) ^ BIT(byte, 3, 4) ^ BIT(byte, 2, 5) ^       \
     BIT(byte, 1, 6) ^ BIT(byte, 0, 7))
#define LOW(byte)                                                                                                      \
    (BIT(byte, 7, 8) ^ BIT(byte, 6, 9) ^ BIT(byte, 5, 10) ^ BIT(byte, 4, 11) ^ BIT(byte, 3, 12) ^ BIT(byte, 2, 13) ^   \
     BIT(byte, 1, 14) ^ BIT(byte, 0, 15))
#define FOUR(of, byte)    of(byte), of(byte + 1), of(byte + 2), of(byte + 3)
#define SIXTEEN(of, byte) FOUR(of, byte), FOUR(of, byte + 4), FOUR(of, byte + 8), FOUR(of, byte + 12)
#define SIXTY(of, byte)   SIXTEEN(of, byte), SIXTEEN(of, byte + 16), SIXTEEN(of, byte + 32), SIXTEEN(of, byte + 48)
#define ALL_BYTES(of)     SIXTY(of, 0), SIXTY(of, 64), SIXTY(of, 128), SIXTY(of, 192)

static const uint16_t of_high_byte[256] = {ALL_BYTES(HIGH)};
static const uint16_t of_low_byte[256] = {ALL_BYTES(LOW)};

static uint32_t toeplitz_of_word(uint16_t word)
{
    uint32_t half = (uint32_t)of_high_byte[word >> 8] ^ of_low_byte[word & 0xff];
    return half << 16 | half;
}

/* The XOR of the big-endian 16-bit words of `size` bytes, a multiple of 4. */
static uint16_t fold(const void *bytes, size_t size)
{
    uint32_t folded = 0;
    for (size_t i = 0; i < size; i += 4) {
        uint32_t word;
        memcpy(&word, (const uint8_t *)bytes + i, 4);
        folded ^= word;
    }
    return __builtin_bswap16((uint16_t)(folded ^ folded >> 16));
}

uint32_t ft_toeplitz(const struct ft_key *key)
{
    uint16_t word = fold(key->addr[0], 32);
    if (key->ip_proto == 6 || key->ip_proto == 17 || key->ip_proto == 132)
        word ^= fold(key->port_be16, 4);
    return toeplitz_of_word(word);
}
