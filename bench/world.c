#include "bench/bench.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>

#define BATCH 32u

static void create_engine(struct bench_world *world, const struct bench_world_options *options)
{
    char error[512];
    struct dp_engine_config config;
    dp_engine_config_init(&config);
    config.worker_count = options->workers ? options->workers : 1;
    config.flow_table.capacity_flows =
        world->capacity_flows < FT_CAPACITY_FLOWS_MIN ? FT_CAPACITY_FLOWS_MIN : world->capacity_flows;
    if (options->closed_timeout_ns)
        config.flow_table.timeout_ns[FT_TIMEOUT_tcp_closed] = options->closed_timeout_ns;
    config.link_count = 1;
    world->engine = dp_engine_create(&config, error, sizeof error);
    if (!world->engine)
        bench_fail("%s", error);
    /* as in an engine that has run for a while: ageing knows the time, so bounds of chunks are true from the start */
    ft_slot slots[1];
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        ft_sweep(world->engine->flows, (uint8_t)shard, bench_now_ns(), 1, slots, 1);
}

/* As three packets of a handshake and a verdict by port leave it. */
static void establish(struct dp_worker *worker, ft_slot slot, uint8_t client_endpoint)
{
    struct ft *flows = worker->engine->flows;
    struct ft_hot *hot = ft_hot(flows, slot);
    ft_write_begin(hot);
    FT_SET(hot->tcp_state, FT_TCP_ESTABLISHED);
    ft_set_timeout_class(flows, slot, FT_TIMEOUT_tcp_established);
    FT_SET(hot->flags, (uint16_t)(client_endpoint | FT_FLOW_ANSWERED | FT_FLOW_ESTABLISHED));
    FT_SET(hot->packets[0], 2);
    FT_SET(hot->packets[1], 1);
    ft_write_end(hot);
    dp_flow_conclude(worker, slot, NULL, NULL, true, 3);
}

static void insert(struct bench_world *world, uint64_t begin, unsigned count)
{
    struct dp_worker *worker = world->engine->workers[0];
    struct ft *flows = world->engine->flows;
    struct ft_key keys[BATCH];
    uint64_t hashes[BATCH], uids[BATCH], now_ns[BATCH];
    ft_slot slots[BATCH];
    uint8_t swap[BATCH];
    int errors[BATCH];
    if (!count || count > BATCH)
        return;
    for (unsigned i = 0; i < count; i++) {
        swap[i] = bench_key(begin + i, world->family, &keys[i]);
        hashes[i] = ft_hash(flows, &keys[i]);
        uids[i] = ++worker->uid_next;
        now_ns[i] = i ? now_ns[0] : bench_now_ns();
    }
    ft_lookup_bulk(flows, keys, hashes, count, slots);
    ft_insert_bulk(flows, keys, hashes, UINT32_MAX >> (BATCH - count), uids, now_ns, slots, errors);
    for (unsigned i = 0; i < count; i++) {
        if (errors[i])
            bench_fail("our table refused flow %" PRIu64 " of %" PRIu64 ": %s", begin + i, world->flows,
                       strerror(-errors[i]));
        establish(worker, slots[i], swap[i]);
    }
}

static void fill_rte(struct bench_world *world)
{
    uint8_t keys[BATCH][BENCH_PEER_KEY_BYTES], swap[BATCH];
    uint32_t hashes[BATCH];
    int32_t positions[BATCH];
    struct cl_verdict verdict;
    static const struct cl_state nothing;
    cl_conclude(world->engine->classifier, &nothing, IPPROTO_TCP, 1024, BENCH_PORT_SERVER, true, &verdict);
    for (uint64_t begin = 0; begin < world->flows; begin += BATCH) {
        for (unsigned i = 0; i < BATCH; i++) {
            struct ft_key key;
            /* the last batch is filled up with flows that are there already */
            swap[i] = bench_key(begin + i < world->flows ? begin + i : 0, world->family, &key);
            bench_peer_key(&key, keys[i]);
            hashes[i] = bench_peer_hash(ft_hash(world->engine->flows, &key));
        }
        bench_rte_insert(&world->rte, keys, hashes, positions);
        for (unsigned i = 0; i < BATCH; i++) {
            struct bench_entry *entry = &world->rte.entries[positions[i]];
            entry->tcp_state = FT_TCP_ESTABLISHED;
            entry->timeout_class = FT_TIMEOUT_tcp_established;
            entry->flags = swap[i] | FT_FLOW_ANSWERED | FT_FLOW_ESTABLISHED | FT_FLOW_DECIDED;
            entry->name = verdict.application ? verdict.application : verdict.protocol;
        }
    }
}

/* Bytes a flow, rounded up: our table; rte_hash; cds_lfht; the floor. */
#define OURS_BYTES  200u
#define RTE_BYTES   170u
#define LFHT_BYTES  100u
#define FLOOR_BYTES 75u
#define REST_BYTES  (UINT64_C(1) << 30) /* streams, frames, mbufs, the engine's pools */
#define FITS_FLOWS  20000000u

void bench_need_memory(uint64_t flows, unsigned needs)
{
    uint64_t flow_bytes = OURS_BYTES + (needs & BENCH_NEED_RTE ? RTE_BYTES : 0u) +
                          (needs & BENCH_NEED_LFHT ? LFHT_BYTES : 0u) + (needs & BENCH_NEED_FLOOR ? FLOOR_BYTES : 0u);
    bench_need_bytes(flows * flow_bytes + (flows >= 1000000 ? REST_BYTES : 0));
}

bool bench_fits(uint64_t flows, unsigned needs)
{
    return flows <= FITS_FLOWS || !(needs & (BENCH_NEED_RTE | BENCH_NEED_LFHT));
}

void bench_world_create(struct bench_world *world, struct bench *bench, const struct bench_world_options *options)
{
    uint64_t flows = options->flows;
    *world = (struct bench_world){
        .bench = bench, .flows = flows, .capacity_flows = flows + options->spare_flows, .family = options->family};
    bench_need_memory(flows, options->needs);
    create_engine(world, options);
    uint64_t before_bytes = bench_resident_bytes();
    for (uint64_t begin = 0; begin < flows; begin += BATCH)
        insert(world, begin, flows - begin < BATCH ? (unsigned)(flows - begin) : BATCH);
    world->table_bytes = bench_resident_bytes() - before_bytes;
    if (options->needs & BENCH_NEED_RTE) {
        bench_rte_create(&world->rte, world->capacity_flows);
        fill_rte(world);
    }
    if (options->needs & BENCH_NEED_FLOOR)
        bench_floor_create(&world->floor, flows);
#ifdef SCE_BENCH_URCU
    if (options->needs & BENCH_NEED_LFHT) {
        world->lfht = bench_lfht_create(world->capacity_flows);
        for (uint64_t i = 0; i < flows; i++) {
            struct ft_key key;
            bench_key(i, options->family, &key);
            bench_lfht_add(world->lfht, &key, ft_hash(world->engine->flows, &key));
        }
    }
#endif
    uint32_t length = bench->stream_length;
    world->stream = (struct bench_stream){
        .length = length,
        .flows = bench_alloc(length * sizeof *world->stream.flows),
        .keys = bench_alloc(length * sizeof *world->stream.keys),
        .hashes = bench_alloc(length * sizeof *world->stream.hashes),
        .peer_keys = bench_alloc(length * sizeof *world->stream.peer_keys),
        .peer_hashes = bench_alloc(length * sizeof *world->stream.peer_hashes),
        .floor_lines = bench_alloc(length * sizeof *world->stream.floor_lines),
        .floor_entries = bench_alloc(length * sizeof *world->stream.floor_entries),
    };
    bench->hugepage_pct = bench_hugepage_pct();
}

void bench_world_draw(struct bench_world *world, enum bench_distribution distribution)
{
    struct bench_stream *stream = &world->stream;
    if (world->is_drawn && world->distribution == distribution)
        return;
    world->is_drawn = true;
    world->distribution = distribution;
    bench_draw(stream->flows, stream->length, world->flows, distribution);
    for (uint32_t i = 0; i < stream->length; i++) {
        bench_key(stream->flows[i], world->family, &stream->keys[i]);
        stream->hashes[i] = ft_hash(world->engine->flows, &stream->keys[i]);
        bench_peer_key(&stream->keys[i], stream->peer_keys[i]);
        stream->peer_hashes[i] = bench_peer_hash(stream->hashes[i]);
        /* as a table would scatter them: by the hash, and in no order of the hash */
        stream->floor_lines[i] = (uint32_t)((stream->hashes[i] >> 32) * (world->flows / 6 + 1) >> 32);
        stream->floor_entries[i] = stream->flows[i];
    }
}

void bench_world_destroy(struct bench_world *world)
{
    struct bench_stream *stream = &world->stream;
    uint32_t length = stream->length;
    dp_engine_destroy(world->engine);
    bench_rte_destroy(&world->rte);
    bench_floor_destroy(&world->floor);
#ifdef SCE_BENCH_URCU
    bench_lfht_destroy(world->lfht);
#endif
    bench_free(stream->flows, length * sizeof *stream->flows);
    bench_free(stream->keys, length * sizeof *stream->keys);
    bench_free(stream->hashes, length * sizeof *stream->hashes);
    bench_free(stream->peer_keys, length * sizeof *stream->peer_keys);
    bench_free(stream->peer_hashes, length * sizeof *stream->peer_hashes);
    bench_free(stream->floor_lines, length * sizeof *stream->floor_lines);
    bench_free(stream->floor_entries, length * sizeof *stream->floor_entries);
}
