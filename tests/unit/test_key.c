#include <criterion/criterion.h>
#include <rte_thash.h>

#include "flowtable/key.h"

static const uint8_t low[4] = {10, 0, 0, 1}, high[4] = {192, 168, 7, 9};

Test(key, both_directions_give_one_key_and_opposite_swaps)
{
    struct ft_key there, back;
    uint8_t swap_there = ft_key_make(&there, false, high, low, 0x1234, 0x5678, 6, 0);
    uint8_t swap_back = ft_key_make(&back, false, low, high, 0x5678, 0x1234, 6, 0);
    cr_assert_eq(memcmp(&there, &back, sizeof there), 0);
    cr_assert_eq(swap_there, 1);
    cr_assert_eq(swap_back, 0);
}

Test(key, same_address_orders_by_port)
{
    struct ft_key there, back;
    uint8_t swap_there = ft_key_make(&there, false, low, low, 1, 2, 17, 0);
    uint8_t swap_back = ft_key_make(&back, false, low, low, 2, 1, 17, 0);
    cr_assert_eq(memcmp(&there, &back, sizeof there), 0);
    cr_assert_neq(swap_there, swap_back);
}

/* DPDK's Toeplitz with the whole repeated key is the second opinion. */
Test(key, toeplitz_is_what_a_port_computes_with_the_symmetric_key)
{
    uint8_t rss_key[40];
    for (size_t i = 0; i < sizeof rss_key; i++)
        rss_key[i] = i % 2 ? 0x5a : 0x6d;
    srand(7);
    for (int round = 0; round < 1000; round++) {
        uint8_t tuple[36];
        bool is_v6 = round % 2;
        for (size_t i = 0; i < sizeof tuple; i++)
            tuple[i] = (uint8_t)rand();
        size_t size = is_v6 ? 16 : 4;
        uint16_t ports[2];
        memcpy(ports, tuple + 2 * size, 4);
        struct ft_key key;
        ft_key_make(&key, is_v6, tuple, tuple + size, ports[0], ports[1], 6, 5);
        uint32_t words[9];
        for (size_t i = 0; i < (2 * size + 4) / 4; i++)
            words[i] = (uint32_t)tuple[4 * i] << 24 | (uint32_t)tuple[4 * i + 1] << 16 |
                       (uint32_t)tuple[4 * i + 2] << 8 | tuple[4 * i + 3];
        cr_assert_eq(ft_toeplitz(&key), rte_softrss(words, (uint32_t)(2 * size + 4) / 4, rss_key), "round %d", round);
    }
}
