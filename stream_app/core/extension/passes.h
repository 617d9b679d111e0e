/* What the files of this module share. Each function here has a form in Python with the same
   results, which is the one to read first: the C form exists for its speed alone. */

#ifndef PASSES_H
#define PASSES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define DIGEST_BYTES 64
#define EXPECTED 3
#define ID_HASH_BITS 44
#define STARTS_SESSION 0x80
#define NAMES_SESSION 0x40
#define ACTION_CODE 0x3F
#define DWELL_SHIFT 12
#define ID_HIGH_HASH 0x0FFF

/* Fields of a user's row, in the order of FIELDS: offsets in bytes. */
enum {
    USED, NEXT, SESSION_OPEN, LAST_OFFSET, LAST_EVENT_MS, SESSION_STARTED_MS, RING_BASE_MS,
    SESSION_HASH, LAST_ITEM, EVENTS_TOTAL, SESSION_EVENTS, SESSIONS_TOTAL, LOG_Z, CLOSE_SURPRISE,
    ANCHOR_LOG_Z, EXPECTED_ITEM, EXPECTED_ITEM_LOGP, EXPECTED_ACTION, EXPECTED_ACTION_LOGP,
    ANCHOR_AGE, REVISION, NEWEST_OFFSET, NEWEST_ID, HIDDEN, ANCHOR, RING, FIELD_COUNT
};
#define FIELDS                                                                                    \
    "used", "next", "session_open", "last_offset", "last_event_ms", "session_started_ms",         \
        "ring_base_ms", "session_hash", "last_item", "events_total", "session_events",            \
        "sessions_total", "log_z", "close_surprise", "anchor_log_z", "expected_item",             \
        "expected_item_logp", "expected_action", "expected_action_logp", "anchor_age",            \
        "revision", "newest_offset", "event_id", "hidden", "anchor", "ring"

/* Fields of an entry of the ring, in the order of RING_FIELDS. */
enum { ITEM, AT, ID_LOW, ID_HIGH, ACTION, SURPRISE, RING_FIELD_COUNT };
#define RING_FIELDS "item", "at", "id_low", "id_high", "action", "surprise"

typedef struct {
    Py_ssize_t row_bytes, entry_bytes, ring_length, memory_bytes; /* of one memory */
    Py_ssize_t at[FIELD_COUNT], in_entry[RING_FIELD_COUNT];
} Layout;

/* A step of the model: see TABLE in stream_app.core.entries. */
typedef struct {
    int64_t at_ms, gap_ms, position, total, row, round, batch_row, before, offset;
    uint64_t id_hash;
    int32_t item;
    uint32_t item_hash, source_item;
    int32_t dwell_ms;
    uint8_t mark, dwell, starts, fallback, unused[4], user[16];
} Step;
_Static_assert(sizeof(Step) == 120, "as TABLE has it");

/* Python's object for a Layout is a capsule. NULL with an exception set where it is none. */
const Layout *layout_of(PyObject *capsule);
PyObject *new_layout(PyObject *module, PyObject *args);

/* Rows have no alignment and are little-endian. */
#define READER(name, type)                                                                        \
    static inline type name(const char *at) {                                                     \
        type value;                                                                               \
        memcpy(&value, at, sizeof value);                                                         \
        return value;                                                                             \
    }
READER(u16_at, uint16_t)
READER(u32_at, uint32_t)
READER(u64_at, uint64_t)
READER(i32_at, int32_t)
READER(i64_at, int64_t)
READER(f32_at, float)
#undef READER
#define PUT(at, type, value)                                                                      \
    do {                                                                                          \
        type put_value = (type)(value);                                                           \
        memcpy((at), &put_value, sizeof put_value);                                               \
    } while (0)

/* A float16 as a float: every one is exact. */
static inline float float_of_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, rest = half & 1023;
    uint32_t bits;
    float value;
    if (exponent == 31) {
        bits = sign | 0x7F800000u | rest << 13;
    } else if (exponent) {
        bits = sign | (exponent + 112) << 23 | rest << 13;
    } else {
        value = (float)rest * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* BLAKE2b with a key (RFC 7693): the state behind the key's block. */
typedef struct {
    uint64_t h[8];
} Keyed;

void keyed_digest(const Keyed *keyed, const char *text, size_t bytes, uint8_t digest[DIGEST_BYTES]);
PyObject *new_keyed(PyObject *module, PyObject *args);
PyObject *digest_with(PyObject *module, PyObject *args);
const Keyed *keyed_of(PyObject *held);

/* What pass 1 needs to know of the sessions that are open, and of who they belong to. */
typedef struct {
    PyObject *object, *heap; /* a SessionTimers and its heap, see heap.h */
    Py_buffer numbers;       /* of each row's timer */
    int64_t set_total, waiting_ms;
} Timers;

int open_timers(Timers *timers, PyObject *object);
int read_timers(Timers *timers);
int write_timers(const Timers *timers);
void release_timers(Timers *timers);
/* -1: an exception; 0: nobody is due; 1: *row is, with its deadline. */
int pop_timer(Timers *timers, int64_t now_ms, int64_t *row, int64_t due[2]);
int has_timer(const Timers *timers, int64_t row);
int set_timer(Timers *timers, int64_t row, const int64_t due[2]);

PyObject *new_reading(PyObject *module, PyObject *args);
PyObject *read_clicks(PyObject *module, PyObject *args);
PyObject *admit(PyObject *module, PyObject *args);
PyObject *keep_newest(PyObject *module, PyObject *args);
PyObject *addresses(PyObject *module, PyObject *const *arrays, Py_ssize_t count);
PyObject *changes(PyObject *module, PyObject *args);
PyObject *new_heap(PyObject *module, PyObject *args);
PyObject *push(PyObject *module, PyObject *args);
PyObject *pop(PyObject *module, PyObject *args);
PyObject *packed(PyObject *module, PyObject *args);
PyObject *half_bits(PyObject *module, PyObject *args);
PyObject *lanes(PyObject *module, PyObject *args);
PyObject *enter(PyObject *module, PyObject *args);
PyObject *leave(PyObject *module, PyObject *args);

#endif
