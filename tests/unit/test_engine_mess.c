/*
 * Every capture's TCP flows in every kind of mess: the verdict is that of the flow as it was, or the flow is flagged
 * ambiguous, or nothing is claimed from its content (a name by port, Generic). Never another name, never in silence.
 *
 * Whatever is random comes from the seed that a failure prints.
 */
#include "tests/unit/mess.h"

#define FLOWS_A_CAPTURE 6u
#define SEEDS           3u

static struct lab lab;
static struct mess_book book;
static struct mess_play play;
static uint64_t random_state;

TestSuite(engine_mess, .timeout = 110);

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % bound;
}

static struct mess_segment *add(const struct mess_segment *segment)
{
    cr_assert_lt(play.count, MESS_SEGMENTS_MAX);
    play.segments[play.count] = *segment;
    return &play.segments[play.count++];
}

/* Bytes [from, to) of a segment. */
static struct mess_segment part_of(const struct mess_segment *s, uint32_t from, uint32_t to)
{
    struct mess_segment part = *s;
    part.bytes += from;
    part.seq += from;
    part.size = to - from;
    return part;
}

/* `size` bytes that are others than the segment's: random, or the beginning of another capture's flow. */
static uint8_t other_bytes[MESS_SEGMENT_BYTES * 4];
static unsigned other_used;

static struct mess_segment with_other_bytes(const struct mess_segment *s)
{
    struct mess_segment other = *s;
    cr_assert_leq(s->size, MESS_SEGMENT_BYTES);
    other_used = (other_used + 1) % 4;
    uint8_t *bytes = other_bytes + (size_t)other_used * MESS_SEGMENT_BYTES;
    for (uint32_t i = 0; i < s->size; i++)
        bytes[i] = (uint8_t)random_below(256);
    const struct mess_script *stranger = &book.scripts[random_below(book.count)];
    for (unsigned i = 0; i < stranger->count && random_state & 1; i++)
        if (stranger->segments[i].size) {
            memcpy(bytes, stranger->segments[i].bytes, RTE_MIN(s->size, stranger->segments[i].size));
            break;
        }
    if (!memcmp(bytes, s->bytes, s->size))
        bytes[0] ^= 1;
    other.bytes = bytes;
    return other;
}

/* ---- transformations: of one original segment with payload, what is sent for it ---- */

static void one_byte_segments(const struct mess_segment *s)
{
    uint32_t small = RTE_MIN(s->size, 100u);
    for (uint32_t at = 0; at < small; at++) {
        struct mess_segment part = part_of(s, at, at + 1);
        add(&part);
    }
    if (small < s->size) {
        struct mess_segment rest = part_of(s, small, s->size);
        add(&rest);
    }
}

/* In up to four pieces, two neighbours exchanged, or the last one first. */
static void reordered(const struct mess_segment *s)
{
    unsigned pieces = RTE_MIN(1 + random_below(4), s->size), first = play.count;
    for (unsigned i = 0; i < pieces; i++) {
        struct mess_segment part = part_of(s, s->size * i / pieces, s->size * (i + 1) / pieces);
        add(&part);
    }
    unsigned a = first + random_below(pieces), b = first + random_below(pieces);
    struct mess_segment kept = play.segments[a];
    play.segments[a] = play.segments[b];
    play.segments[b] = kept;
}

static void duplicated(const struct mess_segment *s)
{
    add(s);
    add(s);
}

static void duplicated_others_first(const struct mess_segment *s)
{
    struct mess_segment other = with_other_bytes(s);
    add(&other);
    add(s);
}

static void duplicated_others_second(const struct mess_segment *s)
{
    struct mess_segment other = with_other_bytes(s);
    add(s);
    add(&other);
}

/* Two pieces that share bytes, of which one has others; the two in either order. */
static void overlapping(const struct mess_segment *s)
{
    if (s->size < 4) {
        add(s);
        return;
    }
    uint32_t cut = 1 + random_below(s->size - 2), back = random_below(cut) + 1;
    struct mess_segment head = part_of(s, 0, cut), tail = part_of(s, cut - back, s->size);
    if (random_below(2))
        head = with_other_bytes(&head);
    else
        tail = with_other_bytes(&tail);
    bool is_tail_first = random_below(2);
    add(is_tail_first ? &tail : &head);
    add(is_tail_first ? &head : &tail);
    add(s); /* the receiver asks again */
}

/* ---- transformations of a whole flow ---- */

static void without_handshake(void)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < play.count; i++)
        if (!(play.segments[i].flags & TCP_SYN) && (kept || play.segments[i].size))
            play.segments[kept++] = play.segments[i];
    play.count = kept;
}

/* Two neighbours of one direction, both with payload, change places somewhere. */
static void exchange_neighbours(void)
{
    unsigned found[MESS_ORIGINAL_MAX], count = 0;
    for (unsigned i = 0; i + 1 < play.count; i++)
        if (play.segments[i].size && play.segments[i + 1].size &&
            play.segments[i].from_server == play.segments[i + 1].from_server)
            found[count++] = i;
    if (!count)
        return;
    unsigned at = found[random_below(count)];
    struct mess_segment kept = play.segments[at];
    play.segments[at] = play.segments[at + 1];
    play.segments[at + 1] = kept;
}

static void without_handshake_in_another_order(void)
{
    without_handshake();
    exchange_neighbours();
}

/* The client's first bytes ride on its SYN; then they come again as they did, as to a server that ignores them. */
static void data_in_the_syn(void)
{
    for (unsigned i = 0; i < play.count; i++)
        if (play.segments[i].size && !play.segments[i].from_server &&
            play.segments[i].seq == play.segments[0].seq + 1) {
            play.segments[0].bytes = play.segments[i].bytes;
            play.segments[0].size = play.segments[i].size;
            return;
        }
}

static void other_data_in_the_syn(void)
{
    data_in_the_syn();
    if (play.segments[0].size)
        play.segments[0] = with_other_bytes(&play.segments[0]);
}

static void in_fragments(void)
{
    play.fragment_bytes = 8 * (3 + random_below(60));
    play.fragment_order = random_below(3);
    play.is_v6 = random_below(2);
}

static void in_tiny_fragments_backwards(void)
{
    play.fragment_bytes = 24;
    play.fragment_order = 1;
}

/* ---- */

typedef void (*transformation)(const struct mess_segment *segment);

static void transform(const struct mess_script *script, transformation each)
{
    memset(&play, 0, offsetof(struct mess_play, segments));
    play.fragment_bytes = play.fragment_order = 0;
    play.is_v6 = false;
    play.script = script;
    for (unsigned i = 0; i < script->count; i++) {
        if (each && script->segments[i].size)
            each(&script->segments[i]);
        else
            add(&script->segments[i]);
    }
}

/* What is compared, and how it came out. */
struct tally {
    unsigned right, coarser, ambiguous, silent, wrong;
};

static bool is_same(const char *a, const char *b)
{
    return !strcmp(a, b);
}

static void compare(struct tally *tally, const struct mess_verdict *whole, const struct mess_verdict *messed,
                    const char *what, uint64_t seed)
{
    bool is_claim = messed->method != CL_METHOD_port && messed->method != CL_METHOD_generic;
    bool is_protocol = is_same(whole->protocol, messed->protocol);
    if (is_protocol && is_same(whole->application, messed->application)) {
        tally->right++;
    } else if (messed->ambiguous) {
        tally->ambiguous++;
    } else if (is_protocol && (!*messed->application || !*whole->application)) {
        tally->coarser++;
    } else if (!is_claim) {
        tally->silent++;
    } else {
        tally->wrong++;
        cr_log_error("%s, seed %lu: %s flow %u is %s/%s (%s), not %s/%s", what, (unsigned long)seed, play.script->file,
                     play.script->flow, messed->protocol, messed->application, cl_method_name(messed->method),
                     whole->protocol, whole->application);
    }
}

static void start(void)
{
    lab_config(&lab);
    lab_start(&lab);
    mess_read_all(&book, lab.pool, FLOWS_A_CAPTURE);
    cr_assert_gt(book.count, 100);
}

static void finish(const char *what, const struct tally *tally)
{
    fprintf(stderr, "%s: %u right, %u coarser, %u ambiguous, %u unnamed, %u wrong\n", what, tally->right,
            tally->coarser, tally->ambiguous, tally->silent, tally->wrong);
    cr_expect_eq(tally->wrong, 0);
    mess_book_free(&book);
    lab_finish(&lab);
}

/* As run(), for what is done to a whole flow. `change` works on the untouched play. */
static struct tally run_flows(const char *what, void (*change)(void), unsigned seeds)
{
    struct tally tally = {0};
    start();
    for (unsigned i = 0; i < book.count; i++) {
        transform(&book.scripts[i], NULL);
        struct mess_verdict whole = mess_judge(&lab, &play);
        for (uint64_t seed = 1; seed <= seeds; seed++) {
            random_state = (seed << 32 | i) * 0x9e3779b97f4a7c15u;
            transform(&book.scripts[i], NULL);
            change();
            struct mess_verdict messed = mess_judge(&lab, &play);
            compare(&tally, &whole, &messed, what, seed);
        }
    }
    finish(what, &tally);
    return tally;
}

static struct tally run(const char *what, transformation each, unsigned seeds)
{
    struct tally tally = {0};
    start();
    for (unsigned i = 0; i < book.count; i++) {
        transform(&book.scripts[i], NULL);
        struct mess_verdict whole = mess_judge(&lab, &play);
        for (uint64_t seed = 1; seed <= seeds; seed++) {
            random_state = (seed << 32 | i) * 0x9e3779b97f4a7c15u;
            transform(&book.scripts[i], each);
            struct mess_verdict messed = mess_judge(&lab, &play);
            compare(&tally, &whole, &messed, what, seed);
        }
    }
    finish(what, &tally);
    return tally;
}

Test(engine_mess, segments_of_one_byte)
{
    struct tally tally = run("one byte", one_byte_segments, 1);
    cr_expect_eq(tally.silent, 0, "bytes that are cut small are still enough");
}

Test(engine_mess, segments_in_another_order)
{
    struct tally tally = run("reordered", reordered, SEEDS);
    cr_expect_eq(tally.ambiguous + tally.silent, 0);
}

Test(engine_mess, segments_twice)
{
    struct tally tally = run("duplicated", duplicated, 1);
    cr_expect_eq(tally.ambiguous, 0, "the same bytes twice are not ambiguous");
}

Test(engine_mess, other_bytes_before)
{
    run("others first", duplicated_others_first, SEEDS);
}

Test(engine_mess, other_bytes_after)
{
    run("others second", duplicated_others_second, SEEDS);
}

Test(engine_mess, segments_that_overlap)
{
    run("overlapping", overlapping, SEEDS);
}

Test(engine_mess, flows_without_a_handshake)
{
    run_flows("no handshake", without_handshake, 1);
}

Test(engine_mess, flows_without_a_handshake_in_another_order)
{
    run_flows("no handshake, reordered", without_handshake_in_another_order, SEEDS);
}

Test(engine_mess, neighbours_exchanged)
{
    run_flows("exchanged", exchange_neighbours, SEEDS);
}

Test(engine_mess, data_in_the_syn)
{
    struct tally tally = run_flows("SYN with data", data_in_the_syn, 1);
    cr_expect_eq(tally.ambiguous, 0);
}

Test(engine_mess, other_data_in_the_syn)
{
    run_flows("SYN with other data", other_data_in_the_syn, SEEDS);
}

Test(engine_mess, fragments_in_any_order)
{
    run_flows("fragments", in_fragments, SEEDS);
}

Test(engine_mess, tiny_fragments_backwards)
{
    run_flows("tiny fragments", in_tiny_fragments_backwards, 1);
}
