/* Included before all else in ambit's sources as they run under the scheduler: small where loops go over all
 * of something, since each round is a step, and a schedule should be short. */
#define AMBIT__SHARDS 4
#define AMBIT__CACHE_ITEMS 4
#define AMBIT__CHUNK_BYTES(object_bytes) (4u * (object_bytes) + 128u)
