#include "dataplane/cascade/carry.h"

#include <stdlib.h>
#include <xxhash.h>

#include "dataplane/cascade/tables.h"

const struct cascade_kind *const cascade_carry_kinds[] = {&cascade_flow_kind,
                                                          &cascade_flow_touch_kind,
                                                          &cascade_flow_gone_kind,
                                                          &cascade_undecided_kind,
                                                          &cascade_expectation_kind,
                                                          &cascade_datagram_kind,
                                                          NULL};

/* ---- names ---- */

struct id_index {
    uint32_t id;
    uint16_t index;
};

struct cascade_pack_names {
    const struct cl_engine *classifier;
    struct id_index *protocols, *signatures; /* sorted by id */
    unsigned protocol_count, signature_count;
    uint64_t digest;
    struct cascade_names names;
};

static int compare_ids(const void *a, const void *b)
{
    const struct id_index *x = a, *y = b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : x->index - y->index;
}

/*
 * On the way ids are counted from 1, since a pack counts from 0 (Generic TCP) and 0 means none. Of several indexes with one id
 * (an entry of an earlier pack beside today's) the highest: it is the newest.
 */
static uint16_t find_id(const struct id_index *list, unsigned count, uint32_t id_plus_1)
{
    unsigned low = 0, high = count;
    uint32_t id = id_plus_1 - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (list[middle].id <= id)
            low = middle + 1;
        else
            high = middle;
    }
    return low && id_plus_1 && list[low - 1].id == id ? list[low - 1].index : 0;
}

static uint32_t id_of_protocol(const void *context, uint16_t index)
{
    const struct cascade_pack_names *names = context;
    return index && index <= names->protocol_count ? cl_protocol_get(names->classifier, index)->id + 1 : 0;
}

static uint32_t id_of_signature(const void *context, uint16_t index)
{
    const struct cascade_pack_names *names = context;
    return index ? cl_signature_id(names->classifier, index) + 1 : 0;
}

static uint16_t protocol_of_id(const void *context, uint32_t id)
{
    const struct cascade_pack_names *names = context;
    return find_id(names->protocols, names->protocol_count, id);
}

static uint16_t signature_of_id(const void *context, uint32_t id)
{
    const struct cascade_pack_names *names = context;
    return find_id(names->signatures, names->signature_count, id);
}

static void digest_names(struct cascade_pack_names *names)
{
    uint64_t digest = 0;
    for (unsigned i = 1; i <= names->protocol_count; i++) {
        const struct cl_protocol_info *info = cl_protocol_get(names->classifier, (cl_protocol)i);
        digest = XXH3_64bits_withSeed(info->name, strlen(info->name), digest ^ info->id);
    }
    for (unsigned i = 1; i <= names->signature_count; i++) {
        const char *name = cl_signature_name(names->classifier, (cl_signature)i);
        digest = XXH3_64bits_withSeed(name, strlen(name), digest ^ cl_signature_id(names->classifier, (cl_signature)i));
    }
    names->digest = digest;
}

struct cascade_pack_names *cascade_pack_names_create(const struct cl_engine *classifier)
{
    struct cascade_pack_names *names = calloc(1, sizeof *names);
    if (!names)
        return NULL;
    names->classifier = classifier;
    names->protocol_count = cl_protocol_count(classifier) - 1;
    names->signature_count = cl_pack_info(classifier)->signatures;
    names->protocols = calloc(names->protocol_count + 1, sizeof *names->protocols);
    names->signatures = calloc(names->signature_count + 1, sizeof *names->signatures);
    if (!names->protocols || !names->signatures) {
        cascade_pack_names_destroy(names);
        return NULL;
    }
    for (unsigned i = 0; i < names->protocol_count; i++)
        names->protocols[i] =
            (struct id_index){cl_protocol_get(classifier, (cl_protocol)(i + 1))->id, (uint16_t)(i + 1)};
    for (unsigned i = 0; i < names->signature_count; i++)
        names->signatures[i] = (struct id_index){cl_signature_id(classifier, (cl_signature)(i + 1)), (uint16_t)(i + 1)};
    qsort(names->protocols, names->protocol_count, sizeof *names->protocols, compare_ids);
    qsort(names->signatures, names->signature_count, sizeof *names->signatures, compare_ids);
    digest_names(names);
    names->names = (struct cascade_names){id_of_protocol, id_of_signature, protocol_of_id, signature_of_id, names};
    return names;
}

void cascade_pack_names_destroy(struct cascade_pack_names *names)
{
    if (!names)
        return;
    free(names->protocols);
    free(names->signatures);
    free(names);
}

const struct cascade_names *cascade_pack_names(const struct cascade_pack_names *names)
{
    return &names->names;
}

uint64_t cascade_pack_names_digest(const struct cascade_pack_names *names)
{
    return names->digest;
}

/* ---- out ---- */

struct cascade_carrier *cascade_carrier_create(struct dp_engine *engine)
{
    struct cascade_carrier *carrier = calloc(1, sizeof *carrier);
    if (!carrier)
        return NULL;
    carrier->engine = engine;
    carrier->attributes.blocks = &engine->attributes;
    carrier->names = cascade_pack_names_create(engine->classifier);
    carrier->pending = dp_pending_pool_share(engine->workers[0]->pending);
    if (!carrier->names || !carrier->pending) {
        cascade_carrier_destroy(carrier);
        return NULL;
    }
    return carrier;
}

void cascade_carrier_destroy(struct cascade_carrier *carrier)
{
    if (!carrier)
        return;
    cascade_pack_names_destroy(carrier->names);
    if (carrier->pending)
        dp_pending_pool_flush(carrier->pending);
    dp_pending_pool_free(carrier->pending);
    dp_attributes_flush(&carrier->attributes);
    free(carrier);
}

static unsigned texts_bytes(const struct dp_attributes *texts)
{
    unsigned bytes = 0;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++)
        bytes += texts->size_bytes[i];
    return bytes;
}

/*
 * A flow's texts are written before its handle is and stay as they are until it ends, when the block may get another's: so a
 * copy is good when the flow still lives with that handle after it.
 */
static void take_texts(void *context, const struct ft_flow *flow, struct cascade_blob *ret_texts)
{
    struct cascade_carrier *carrier = context;
    struct ft_flow again;
    const struct dp_attributes *from = dp_attributes_get(&carrier->attributes, flow->cold.attributes);
    if (!from)
        return;
    const uint64_t *words = (const uint64_t *)(const void *)from;
    uint64_t *to = (uint64_t *)(void *)&carrier->texts;
    for (unsigned i = 0; i < sizeof carrier->texts / sizeof *to; i++)
        to[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
    /* Acquire; partner: the release W0, W1 of the flow's writer: what it changed since shows in the flow. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (!ft_read(carrier->engine->flows, flow->slot, &again) ||
        ft_generation(&again.hot) != ft_generation(&flow->hot) || again.cold.attributes != flow->cold.attributes ||
        texts_bytes(&carrier->texts) > DP_ATTRIBUTES_TEXT_BYTES)
        return;
    *ret_texts = (struct cascade_blob){(const uint8_t *)&carrier->texts,
                                       (uint16_t)(offsetof(struct dp_attributes, text) + texts_bytes(&carrier->texts))};
}

static void take_pending(void *context, const struct ft_flow *flow, struct cascade_blob *ret_pending)
{
    struct cascade_carrier *carrier = context;
    const struct dp_pending *pending = dp_pending_get(carrier->pending, cascade_pending_of(&flow->hot, &flow->cold));
    if (!pending)
        return;
    size_t size = cascade_undecided_write(carrier->pending, pending, cascade_pack_names(carrier->names),
                                          carrier->undecided, sizeof carrier->undecided);
    *ret_pending = (struct cascade_blob){carrier->undecided, (uint16_t)size};
}

struct cascade_attachments cascade_carrier_attachments(struct cascade_carrier *carrier)
{
    return (struct cascade_attachments){take_texts, take_pending, carrier};
}

/* ---- in ---- */

static uint32_t give_texts(void *context, const struct cascade_blob *texts)
{
    struct cascade_carrier *carrier = context;
    struct dp_attributes block;
    struct cl_info info;
    memset(&block, 0, sizeof block);
    memset(&info.size_bytes, 0, sizeof info.size_bytes);
    if (texts->size_bytes > sizeof block)
        return 0;
    memcpy(&block, texts->bytes, texts->size_bytes);
    if (texts_bytes(&block) > DP_ATTRIBUTES_TEXT_BYTES)
        return 0;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
        unsigned size;
        const char *text = dp_attributes_text(&block, (enum cl_text)i, &size);
        if (size)
            cl_info_set(&info, (enum cl_text)i, text, size);
    }
    bool exhausted;
    return dp_attributes_store(&carrier->attributes, &info, &exhausted);
}

static uint32_t give_pending(void *context, const struct cascade_flow *flow, const struct cascade_blob *pending)
{
    struct cascade_carrier *carrier = context;
    enum cascade_flow_refusal refusal;
    (void)flow;
    uint32_t handle = cascade_undecided_read(carrier->pending, carrier->reader, cascade_pack_names(carrier->names),
                                             carrier->same_pack, pending->bytes, pending->size_bytes, &refusal);
    carrier->undecided_lost += !handle;
    return handle;
}

static void drop_handles(void *context, uint32_t texts, uint32_t pending)
{
    struct cascade_carrier *carrier = context;
    dp_attributes_drop(&carrier->attributes, texts);
    dp_pending_drop(carrier->pending, pending);
}

struct cascade_adopters cascade_carrier_adopters(struct cascade_carrier *carrier)
{
    return (struct cascade_adopters){give_texts, give_pending, drop_handles, carrier, 0};
}

uint64_t cascade_carrier_drop(struct cascade_carrier *carrier, uint8_t shard)
{
    struct ft_flow flow;
    uint64_t position = 0, count = 0;
    for (; ft_walk(carrier->engine->flows, shard, &position, &flow); count++) {
        drop_handles(carrier, flow.cold.attributes, cascade_pending_of(&flow.hot, &flow.cold));
        ft_remove(carrier->engine->flows, flow.slot);
    }
    return count;
}
