/*
 * The flow table under threads: owners write while others walk, find and read. Each copy carries an inner checksum, and
 * says by its uid which key it must have. Threads count what is wrong; the test's own thread asserts.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include "flowtable/table_priv.h"
#include "flowtable_util.h"

#ifdef __SANITIZE_THREAD__
#define SCALE 10u
#else
#define SCALE 1u
#endif

/* uid = number of the key << 32 | how many flows were made before; all other fields follow from it and a counter. */
static uint64_t uid_of(uint32_t number, uint32_t flows)
{
    return (uint64_t)number << 32 | flows;
}

static uint64_t mixed(uint64_t uid, uint64_t counter)
{
    return (uid ^ counter) * 0x9e3779b97f4a7c15u;
}

static void write_flow(struct ft *ft, ft_slot slot, uint64_t counter)
{
    struct ft_hot *hot = ft_hot(ft, slot);
    struct ft_cold *cold = ft_cold(ft, slot);
    uint64_t mix = mixed(cold->uid, counter);
    ft_write_begin(hot);
    FT_SET(hot->last_ns, counter);
    FT_SET(hot->bytes[0], mix);
    FT_SET(hot->bytes[1], ~mix);
    FT_SET(hot->packets[0], (uint32_t)mix);
    FT_SET(hot->packets[1], (uint32_t)(mix >> 32));
    FT_SET(cold->reported_bytes[0], mix + 1);
    FT_SET(cold->reported_bytes[1], mix - 1);
    FT_SET(cold->attributes, (uint32_t)mix);
    ft_write_end(hot);
}

static bool is_whole(const struct ft_flow *flow, const struct ft_key keys[], uint32_t key_count)
{
    uint32_t number = (uint32_t)(flow->cold.uid >> 32);
    if (number >= key_count || memcmp(&flow->key, &keys[number], sizeof flow->key) != 0)
        return false;
    if (!(ft_generation(&flow->hot) & 1) || (flow->hot.sequence & 1))
        return false;
    if (flow->hot.bytes[0] == 0) /* not written yet */
        return flow->hot.bytes[1] == 0 && flow->hot.packets[0] == 0 && flow->cold.reported_bytes[0] == 0;
    uint64_t mix = mixed(flow->cold.uid, flow->hot.last_ns);
    return flow->hot.bytes[0] == mix && flow->hot.bytes[1] == ~mix && flow->hot.packets[0] == (uint32_t)mix &&
           flow->hot.packets[1] == (uint32_t)(mix >> 32) && flow->cold.reported_bytes[0] == mix + 1 &&
           flow->cold.reported_bytes[1] == mix - 1 && flow->cold.attributes == (uint32_t)mix;
}

/* ---- walk ---- */

enum { WALK_SHARDS = 4, WALK_PINNED = 300, WALK_CHURNED = 300, WALK_KEYS = WALK_PINNED + WALK_CHURNED, WALKS_MIN = 40 };

struct walk_test {
    struct ft *ft;
    struct ft_key keys[WALK_SHARDS][WALK_KEYS]; /* the first WALK_PINNED of a shard live all the time */
    uint64_t walks;                             /* atomic, the walker's */
    bool is_over;                               /* atomic, the owner's */
    uint64_t torn, missed, twice, foreign;      /* the walker's */
};

static void walk_once(struct walk_test *t, unsigned shard)
{
    uint64_t seen[WALK_KEYS] = {0}, position = 0;
    struct ft_flow flow;
    while (ft_walk(t->ft, (uint8_t)shard, &position, &flow)) {
        if (!is_whole(&flow, t->keys[shard], WALK_KEYS)) {
            t->torn++;
            continue;
        }
        t->foreign += ft_shard_of(&flow.key) != shard;
        uint32_t number = (uint32_t)(flow.cold.uid >> 32);
        t->twice += seen[number] == flow.cold.uid + 1;
        seen[number] = flow.cold.uid + 1;
    }
    for (unsigned i = 0; i < WALK_PINNED; i++)
        t->missed += seen[i] == 0;
}

static void *walker(void *argument)
{
    struct walk_test *t = argument;
    int reader = ft_reader_register(t->ft);
    for (unsigned shard = 0; !__atomic_load_n(&t->is_over, __ATOMIC_RELAXED); shard = (shard + 1) % WALK_SHARDS) {
        ft_reader_online(t->ft, reader);
        walk_once(t, shard);
        ft_reader_offline(t->ft, reader);
        __atomic_fetch_add(&t->walks, 1, __ATOMIC_RELAXED);
    }
    ft_reader_unregister(t->ft, reader);
    return NULL;
}

/* Ten writes a step, and one churned flow of the shard is taken out or put in. */
static void owner_step(struct walk_test *t, unsigned shard, uint64_t *random, ft_slot slots[WALK_KEYS],
                       uint64_t counter)
{
    for (unsigned i = 0; i < 10; i++) {
        uint32_t number = (uint32_t)(next_random(random) % WALK_KEYS);
        if (slots[number] != FT_SLOT_NONE)
            write_flow(t->ft, slots[number], counter + i);
    }
    uint32_t number = WALK_PINNED + (uint32_t)(next_random(random) % WALK_CHURNED);
    if (slots[number] != FT_SLOT_NONE) {
        ft_remove(t->ft, slots[number]);
        slots[number] = FT_SLOT_NONE;
    } else {
        ft_slot slot;
        if (insert(t->ft, &t->keys[shard][number], uid_of(number, (uint32_t)counter), counter, &slot) == 0)
            slots[number] = slot;
    }
}

Test(flowtable_readers, a_walk_beside_ten_million_writes_finds_each_lasting_flow_once_and_whole)
{
    struct walk_test *t = calloc(1, sizeof *t);
    struct ft_config config = test_config(65536 * 4);
    for (unsigned class = 0; class < FT_TIMEOUT_COUNT; class ++)
        config.timeout_ns[class] = 100000000 * NS; /* the clock here counts writes: nothing may expire */
    t->ft = create(&config);
    static ft_slot slots[WALK_SHARDS][WALK_KEYS];
    uint64_t random = 61;
    for (unsigned shard = 0; shard < WALK_SHARDS; shard++)
        for (uint32_t i = 0; i < WALK_KEYS; i++) {
            t->keys[shard][i] = key_of_shard((uint8_t)shard, &random);
            slots[shard][i] = i < WALK_PINNED ? must_insert(t->ft, &t->keys[shard][i], uid_of(i, 0), 1) : FT_SLOT_NONE;
        }
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, walker, t), 0);
    uint64_t writes = 10000000 / SCALE, counter = 1;
    while (counter < writes || __atomic_load_n(&t->walks, __ATOMIC_RELAXED) < WALKS_MIN) {
        unsigned shard = (unsigned)(counter / 10 % WALK_SHARDS);
        owner_step(t, shard, &random, slots[shard], counter);
        counter += 10;
        if (counter % 64 == 1) {
            ft_slot found[8];
            cr_assert_eq(ft_sweep(t->ft, (uint8_t)shard, counter, 64, found, 8), 0);
        }
        if (counter % 100000 == 1)
            sched_yield();
    }
    __atomic_store_n(&t->is_over, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    cr_assert_eq(t->torn, 0);
    cr_assert_eq(t->missed, 0);
    cr_assert_eq(t->twice, 0);
    cr_assert_eq(t->foreign, 0);
    cr_assert_gt(stats_of(t->ft).removed, writes / 100, "slots were reused meanwhile");
    ft_destroy(t->ft);
    free(t);
}

/* ---- find ---- */

enum {
    FIND_SHARD = 5,
    FIND_PINNED = 30,
    FIND_CHURNED = 60,
    FINDS_MIN = 1000000 / SCALE,
    DISPLACED_MIN = 20000 / SCALE,
    STOPS_MIN = 20000 / SCALE
};

struct find_test {
    struct ft *ft;
    struct ft_key pinned[FIND_PINNED], churned[FIND_CHURNED], keys[FIND_PINNED + FIND_CHURNED];
    ft_slot slots[FIND_CHURNED]; /* the owner's, with its random numbers and its count of steps */
    uint64_t random, counter;
    uint64_t finds; /* atomic, the finder's */
    bool is_over;   /* atomic, the owner's */
    uint64_t missed, torn;
};

static void *finder(void *argument)
{
    struct find_test *t = argument;
    int reader = ft_reader_register(t->ft);
    ft_reader_online(t->ft, reader);
    while (!__atomic_load_n(&t->is_over, __ATOMIC_RELAXED)) {
        struct ft_flow flow;
        for (unsigned i = 0; i < FIND_PINNED; i++) {
            if (!ft_find(t->ft, &t->pinned[i], &flow))
                t->missed++;
            else
                t->torn += !is_whole(&flow, t->keys, FIND_PINNED + FIND_CHURNED) || flow.cold.uid >> 32 != i;
            /* One that comes and goes: there or not, but never another's. */
            const struct ft_key *churned = &t->churned[i % FIND_CHURNED];
            if (ft_find(t->ft, churned, &flow))
                t->torn += memcmp(&flow.key, churned, sizeof *churned) != 0 ||
                           !is_whole(&flow, t->keys, FIND_PINNED + FIND_CHURNED);
        }
        __atomic_fetch_add(&t->finds, FIND_PINNED, __ATOMIC_RELAXED);
        ft_reader_quiescent(t->ft, reader);
    }
    ft_reader_offline(t->ft, reader);
    ft_reader_unregister(t->ft, reader);
    return NULL;
}

static struct find_test *find_test_create(void)
{
    struct find_test *t = calloc(1, sizeof *t);
    struct ft_config config = test_config(4096);
    t->ft = create(&config);
    t->random = 67;
    t->counter = 2;
    for (uint32_t i = 0; i < FIND_PINNED + FIND_CHURNED; i++) {
        struct ft_key key = t->keys[i] = key_of_shard(FIND_SHARD, &t->random);
        if (i < FIND_PINNED) {
            t->pinned[i] = key;
            must_insert(t->ft, &key, uid_of(i, 0), 1);
        } else {
            t->churned[i - FIND_PINNED] = key;
            t->slots[i - FIND_PINNED] = FT_SLOT_NONE;
        }
    }
    return t;
}

/* The shard's 64 places stay nearly full, so most inserts displace. */
static void churn(struct find_test *t)
{
    for (unsigned i = 0; i < 500; i++, t->counter++) {
        uint32_t number = (uint32_t)(next_random(&t->random) % FIND_CHURNED);
        ft_slot *slot = &t->slots[number];
        if (*slot == FT_SLOT_NONE) {
            insert(t->ft, &t->churned[number], uid_of(FIND_PINNED + number, (uint32_t)t->counter), 1, slot);
        } else if (t->ft->shards[FIND_SHARD].flows > 58) {
            ft_remove(t->ft, *slot);
            *slot = FT_SLOT_NONE;
        } else {
            write_flow(t->ft, *slot, t->counter);
        }
    }
}

Test(flowtable_readers, displacement_never_hides_a_live_flow)
{
    struct find_test *t = find_test_create();
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, finder, t), 0);
    while (__atomic_load_n(&t->finds, __ATOMIC_RELAXED) < FINDS_MIN || stats_of(t->ft).displaced < DISPLACED_MIN) {
        churn(t);
        sched_yield();
    }
    __atomic_store_n(&t->is_over, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    cr_assert_eq(t->missed, 0, "%lu of %lu", t->missed, t->finds);
    cr_assert_eq(t->torn, 0);
    ft_destroy(t->ft);
    free(t);
}

/*
 * The same with the owner stopped between any two instructions, as a preempted one is: a timer's signal looks from
 * within. A bucket that is being written would make the look wait for its own thread, so then it is left out.
 */
static struct find_test *interrupted;

static void look_from_within(int signal)
{
    (void)signal;
    struct find_test *t = interrupted;
    struct ft_flow flow;
    for (uint32_t i = 0; i < t->ft->shard_buckets; i++)
        if (t->ft->buckets[FIND_SHARD * t->ft->shard_buckets + i].version & 1)
            return;
    for (unsigned i = 0; i < FIND_PINNED; i++)
        t->missed += !ft_find(t->ft, &t->pinned[i], &flow);
    t->finds++;
}

Test(flowtable_readers, displacement_stopped_half_way_hides_no_live_flow)
{
    struct find_test *t = interrupted = find_test_create();
    struct sigaction action = {.sa_handler = look_from_within, .sa_flags = SA_RESTART};
    cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval often = {.it_interval = {.tv_usec = 40}, .it_value = {.tv_usec = 40}}, never = {{0}, {0}};
    cr_assert_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
    while (*(volatile uint64_t *)&t->finds < STOPS_MIN)
        churn(t);
    cr_assert_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
    cr_assert_eq(t->missed, 0, "%lu in %lu looks", t->missed, t->finds);
    ft_destroy(t->ft);
    free(t);
}

/* ---- copies by the owner ---- */

struct starved_test {
    struct ft *ft;
    ft_slot slot;
    struct ft_flow flow;
    bool found;
    bool is_over;
};

static void *starved_reader(void *argument)
{
    struct starved_test *t = argument;
    t->found = ft_read(t->ft, t->slot, &t->flow);
    __atomic_store_n(&t->is_over, true, __ATOMIC_RELEASE);
    return NULL;
}

Test(flowtable_readers, a_starved_reader_gets_the_owners_copy)
{
    struct ft_config config = test_config(4096);
    struct starved_test t = {.ft = create(&config)};
    struct ft_key key = numbered_key(8);
    t.slot = must_insert(t.ft, &key, uid_of(0, 7), 1);
    write_flow(t.ft, t.slot, 1234);
    struct ft_shard_set all = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    /* The write stays open, so that by itself the reader cannot succeed: what it gets is the owner's answer. */
    ft_write_begin(ft_hot(t.ft, t.slot));
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, starved_reader, &t), 0);
    while (!__atomic_load_n(&t.is_over, __ATOMIC_ACQUIRE)) {
        ft_owner_poll(t.ft, &all);
        sched_yield();
    }
    pthread_join(thread, NULL);
    cr_assert(t.found);
    cr_assert_eq(t.flow.hot.sequence, ft_hot(t.ft, t.slot)->sequence);
    cr_assert_eq(t.flow.cold.uid, uid_of(0, 7));
    cr_assert_eq(t.flow.hot.bytes[0], mixed(uid_of(0, 7), 1234));
    cr_assert_eq(memcmp(&t.flow.key, &key, sizeof key), 0);
    for (unsigned i = 0; i < FT_READERS_MAX; i++)
        cr_assert_eq(t.ft->requests[i].state, FT_COPY_UNUSED);
    cr_assert_eq(t.ft->copies_asked, 0);
    ft_destroy(t.ft);
}

/* The reader that asked and then succeeds by itself takes its request back; the slot may even be free by then. */
Test(flowtable_readers, a_request_is_taken_back)
{
    struct ft_config config = test_config(4096);
    for (unsigned round = 0; round < 200; round++) {
        struct starved_test t = {.ft = create(&config)};
        struct ft_key key = numbered_key(8);
        t.slot = must_insert(t.ft, &key, uid_of(0, 7), 1);
        struct ft_hot *hot = ft_hot(t.ft, t.slot);
        ft_write_begin(hot);
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, starved_reader, &t), 0);
        while (__atomic_load_n(&t.ft->copies_asked, __ATOMIC_RELAXED) == 0)
            sched_yield();
        ft_write_end(hot);
        if (round & 1)
            ft_remove(t.ft, t.slot);
        pthread_join(thread, NULL);
        cr_assert(t.found || round & 1);
        for (unsigned i = 0; i < FT_READERS_MAX; i++)
            cr_assert_eq(t.ft->requests[i].state, FT_COPY_UNUSED);
        cr_assert_eq(t.ft->copies_asked, 0);
        ft_destroy(t.ft);
    }
}

/* ---- several owners ---- */

enum { OWNERS = 4, OWNER_ROUNDS = 200 / SCALE, OWNER_KEYS = 2500 };

struct owner_test {
    struct ft *ft;
    unsigned number;
    struct ft_key *keys;
    ft_slot *slots;
    uint64_t inserted, refused, wrong;
};

/* Waves: fills its shards from the slots that all share, then empties most of them, so that chunks go round. */
static void *owner(void *argument)
{
    struct owner_test *t = argument;
    uint64_t random = t->number;
    for (unsigned round = 0; round < OWNER_ROUNDS; round++) {
        for (uint32_t i = 0; i < OWNER_KEYS; i++) {
            if (t->slots[i] != FT_SLOT_NONE || next_random(&random) % 4 == 0)
                continue;
            if (insert(t->ft, &t->keys[i], uid_of(i, t->number), 1, &t->slots[i]) == 0)
                t->inserted++;
            else
                t->refused++;
        }
        for (uint32_t i = 0; i < OWNER_KEYS; i++) {
            t->wrong += lookup(t->ft, &t->keys[i]) != t->slots[i];
            if (t->slots[i] == FT_SLOT_NONE)
                continue;
            t->wrong += ft_cold(t->ft, t->slots[i])->uid != uid_of(i, t->number);
            if (next_random(&random) % 8) {
                ft_remove(t->ft, t->slots[i]);
                t->slots[i] = FT_SLOT_NONE;
            }
        }
        sched_yield();
    }
    return NULL;
}

Test(flowtable_readers, owners_share_the_stack_of_chunks)
{
    struct ft_config config = test_config(4096);
    struct owner_test tests[OWNERS];
    struct ft *ft = create(&config);
    for (unsigned o = 0; o < OWNERS; o++) {
        tests[o] = (struct owner_test){.ft = ft, .number = o};
        tests[o].keys = calloc(OWNER_KEYS, sizeof *tests[o].keys);
        tests[o].slots = calloc(OWNER_KEYS, sizeof *tests[o].slots);
        uint64_t random = 71 + o;
        for (uint32_t i = 0; i < OWNER_KEYS; i++) {
            tests[o].keys[i] = key_of_shard((uint8_t)(64 * o + i % 64), &random);
            tests[o].slots[i] = FT_SLOT_NONE;
        }
    }
    pthread_t threads[OWNERS];
    for (unsigned o = 0; o < OWNERS; o++)
        cr_assert_eq(pthread_create(&threads[o], NULL, owner, &tests[o]), 0);
    uint64_t left = 0, inserted = 0, refused = 0;
    for (unsigned o = 0; o < OWNERS; o++) {
        pthread_join(threads[o], NULL);
        cr_assert_eq(tests[o].wrong, 0);
        inserted += tests[o].inserted;
        refused += tests[o].refused;
    }
    bool *is_taken = calloc((size_t)ft->chunk_count << ft->chunk_shift, sizeof *is_taken);
    for (unsigned o = 0; o < OWNERS; o++) {
        for (uint32_t i = 0; i < OWNER_KEYS; i++) {
            ft_slot slot = tests[o].slots[i];
            if (slot == FT_SLOT_NONE)
                continue;
            cr_assert_not(is_taken[slot], "two flows in slot %u", slot);
            is_taken[slot] = true;
            left++;
        }
        free(tests[o].keys);
        free(tests[o].slots);
    }
    free(is_taken);
    struct ft_stats stats = stats_of(ft);
    cr_assert_eq(stats.flows, left);
    cr_assert_eq(stats.inserted, inserted);
    cr_assert_eq(stats.refused_no_slot + stats.refused_no_bucket, refused);
    cr_assert_gt((ft->free_chunks[FT_V4] >> 32) + (ft->free_chunks[FT_V6] >> 32), ft->chunk_count, "chunks went round");
    ft_destroy(ft);
}
