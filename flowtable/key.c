#include "flowtable/key.h"

/* The 16-bit key word that makes Toeplitz symmetric. */
#define SYMMETRIC_KEY 0x6d5au

/*
 * Toeplitz: for each set bit i of the input (from the first on), XOR in the 32 key bits from bit i on. With a key of
 * period 16 that window depends on i mod 16 alone, hence only on the XOR of all 16-bit words of the input.
 */
static uint32_t toeplitz_of_word(uint16_t word)
{
    uint32_t hash = 0;
    uint64_t window = (uint64_t)SYMMETRIC_KEY << 32 | (uint64_t)SYMMETRIC_KEY << 16 | SYMMETRIC_KEY;
    for (unsigned bit = 0; bit < 16; bit++)
        if (word & 0x8000u >> bit)
            hash ^= (uint32_t)(window >> (16 - bit));
    return hash;
}

static uint16_t fold(const uint8_t *bytes, size_t size)
{
    uint16_t folded = 0;
    for (size_t i = 0; i < size; i += 2)
        folded ^= (uint16_t)(bytes[i] << 8 | bytes[i + 1]);
    return folded;
}

uint32_t ft_toeplitz(const struct ft_key *key)
{
    uint16_t word = fold(key->addr[0], 32);
    if (key->ip_proto == 6 || key->ip_proto == 17 || key->ip_proto == 132)
        word ^= fold((const uint8_t *)key->port_be16, 4);
    return toeplitz_of_word(word);
}
