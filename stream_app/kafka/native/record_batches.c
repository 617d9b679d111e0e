/*
 * Kafka's record batches (magic 2) from columns, for stream_app/kafka/record_batches.py. Bytes equal
 * those of aiokafka's builder without compression.
 *
 * https://kafka.apache.org/documentation/#recordbatch
 */

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_SSE42_PATH 1
#else
#define HAS_SSE42_PATH 0
#endif

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define HEADER_BYTES 61
#define CRC_AT 17
#define ATTRIBUTES_AT 21  /* what the checksum covers begins here */

enum { NO_KEY = 1, NO_VALUE = 2 };

typedef struct {
    const uint8_t *keys;
    const int64_t *key_ends;
    const uint8_t *values;
    const int64_t *value_ends;
    const uint8_t *missing;  /* [n] of NO_KEY, NO_VALUE */
    const uint8_t *headers;  /* as they stand in every record, their count in front */
    int64_t header_bytes;
    int64_t n;
} Columns;

EXPORT int64_t record_batches_version(void) { return 1; }

static uint8_t *put_varint(uint8_t *at, int64_t value)
{
    uint64_t left = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (left > 127) {
        *at++ = (uint8_t)(left | 128);
        left >>= 7;
    }
    *at++ = (uint8_t)left;
    return at;
}

static int64_t varint_bytes(int64_t value)
{
    uint64_t left = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    int64_t bytes = 1;
    while (left > 127) {
        bytes++;
        left >>= 7;
    }
    return bytes;
}

static uint8_t *put_bytes(uint8_t *at, const uint8_t *bytes, int64_t length, int is_missing)
{
    if (is_missing)
        return put_varint(at, -1);
    at = put_varint(at, length);
    memcpy(at, bytes, (size_t)length);
    return at + length;
}

static void put_big(uint8_t *at, int64_t value, int bytes)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value = (int64_t)((uint64_t)value >> 8);
    }
}

/*
 * Writes the records from `first` on behind the header, as many as fit a batch of `limit` bytes, the
 * first one whatever its size. The number of the first record that is left; `bytes` gets the size of
 * the batch. -1 where `capacity` has no room for the first one.
 */
EXPORT int64_t record_batches_write(const Columns *c, int64_t first, uint8_t *batch,
                                    int64_t capacity, int64_t limit, int64_t *bytes)
{
    uint8_t *at = batch + HEADER_BYTES;
    int64_t k;
    for (k = first; k < c->n; k++) {
        int64_t key_at = k ? c->key_ends[k - 1] : 0, value_at = k ? c->value_ends[k - 1] : 0;
        int64_t key = c->key_ends[k] - key_at, value = c->value_ends[k] - value_at;
        int has_no_key = c->missing[k] & NO_KEY, has_no_value = c->missing[k] & NO_VALUE;
        int64_t body = 1 + varint_bytes(0) + varint_bytes(k - first) + c->header_bytes;
        int64_t size;
        body += has_no_key ? 1 : varint_bytes(key) + key;
        body += has_no_value ? 1 : varint_bytes(value) + value;
        size = varint_bytes(body) + body;
        if (k > first && at - batch + size > limit)
            break;
        if (at - batch + size > capacity) {
            if (k == first)
                return -1;
            break;
        }
        at = put_varint(at, body);
        *at++ = 0;
        at = put_varint(at, 0);
        at = put_varint(at, k - first);
        at = put_bytes(at, c->keys + key_at, key, has_no_key);
        at = put_bytes(at, c->values + value_at, value, has_no_value);
        memcpy(at, c->headers, (size_t)c->header_bytes);
        at += c->header_bytes;
    }
    *bytes = at - batch;
    return k;
}

static uint32_t crc_of_byte(uint32_t crc)
{
    int bit;
    for (bit = 0; bit < 8; bit++)
        crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
    return crc;
}

static uint32_t crc32c_plain(const uint8_t *bytes, int64_t length)
{
    uint32_t table[256], crc = ~0u, i;
    int64_t k;
    for (i = 0; i < 256; i++)
        table[i] = crc_of_byte(i);
    for (k = 0; k < length; k++)
        crc = (crc >> 8) ^ table[(crc ^ bytes[k]) & 255];
    return ~crc;
}

#if HAS_SSE42_PATH
/*
 * The instruction takes three cycles, and one can begin in each: three stretches of so many bytes are
 * summed side by side.
 */
#define STRETCH 1024
/*
 * x^(8n - 33) modulo the polynomial: a checksum times this, carried through the instruction, is what
 * it would be n bytes of zeros later; for one stretch and for two.
 */
#define PAST_ONE 0x170076FAu
#define PAST_TWO 0xA51B6135u

static uint64_t word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t past(uint64_t crc, uint32_t zeros)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi64_si128(zeros), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_sse42(const uint8_t *bytes,
                                                                      int64_t length)
{
    uint64_t crc = 0xFFFFFFFFu;
    while (length >= 3 * STRETCH) {
        uint64_t second = 0, third = 0;
        int64_t k;
        for (k = 0; k < STRETCH; k += 8) {
            crc = _mm_crc32_u64(crc, word_at(bytes + k));
            second = _mm_crc32_u64(second, word_at(bytes + STRETCH + k));
            third = _mm_crc32_u64(third, word_at(bytes + 2 * STRETCH + k));
        }
        crc = past(crc, PAST_TWO) ^ past(second, PAST_ONE) ^ third;
        bytes += 3 * STRETCH;
        length -= 3 * STRETCH;
    }
    while (length >= 8) {
        crc = _mm_crc32_u64(crc, word_at(bytes));
        bytes += 8;
        length -= 8;
    }
    while (length--)
        crc = _mm_crc32_u8((uint32_t)crc, *bytes++);
    return ~(uint32_t)crc;
}
#endif

/* CRC-32C (Castagnoli); `plainly` without the processor's own instructions */
EXPORT uint32_t record_batches_crc32c(const uint8_t *bytes, int64_t length, int64_t plainly)
{
#if HAS_SSE42_PATH
    if (!plainly && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc32c_sse42(bytes, length);
#endif
    (void)plainly;
    return crc32c_plain(bytes, length);
}

/* Writes the header of a batch of `count` records. */
EXPORT void record_batches_seal(uint8_t *batch, int64_t bytes, int64_t count, int64_t attributes,
                                int64_t timestamp_ms, int64_t producer_id, int64_t producer_epoch,
                                int64_t base_sequence)
{
    put_big(batch, 0, 8);           /* base offset */
    put_big(batch + 8, bytes - 12, 4);
    put_big(batch + 12, -1, 4);     /* leader's epoch */
    batch[16] = 2;                  /* magic */
    put_big(batch + 21, attributes, 2);
    put_big(batch + 23, count - 1, 4); /* last offset's delta */
    put_big(batch + 27, timestamp_ms, 8);
    put_big(batch + 35, timestamp_ms, 8);
    put_big(batch + 43, producer_id, 8);
    put_big(batch + 51, producer_epoch, 2);
    put_big(batch + 53, base_sequence, 4);
    put_big(batch + 57, count, 4);
    put_big(batch + CRC_AT,
            record_batches_crc32c(batch + ATTRIBUTES_AT, bytes - ATTRIBUTES_AT, 0), 4);
}
