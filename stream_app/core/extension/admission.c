/* Pass 1 for the clicks that most are: of a user who is there, not late, under memories of one
   generation. Whatever else comes is left to stream_app.core.admit: one part of it by a call of a
   method (users who may have expired), the whole record by returning its place. */

#include "passes.h"

#include "../native/splitmix.h"

/* Columns of Steps, in the order in which COLUMNS names them. */
enum {
    BATCH_ROW, ROW, ROUND, AT_MS, GAP_MS, DWELL_MS, POSITION, TOTAL, STARTS, ITEM_CODE, ACTION_AT,
    ITEM_HASH, ID_HASH, SOURCE_ITEM, FALLBACK, CLICK, PSEUDONYM, COLUMN_COUNT
};
static const char *const COLUMNS[COLUMN_COUNT] = {
    "batch_row", "row",    "round",     "at_ms",   "gap_ms",      "dwell_ms", "position", "total",
    "starts",    "item",   "action",    "item_hash", "id_hash",   "source_item", "fallback",
    "click",     "pseudonym",
};
/* Fields of a Click. */
enum { USER_ID, EVENT_ID, SESSION_ID, ITEM_ID, ACTION_NAME, CLICK_AT_MS, CLICK_DWELL_MS };

enum { FAILED = -1, DONE = 0, LEFT = 1 }; /* LEFT: a record for the form in Python */

typedef struct {
    PyObject *admission, *store, *record, *columns[COLUMN_COUNT];
    PyObject *cleaned, *entries, *pending, *timelines, *touched, *offsets;
    PyObject *slots, *pseudonyms, *changed, *codes, *action_codes;
    PyTypeObject *click, *step_at, *session_end, *expectation;
    Timers timers;
    const Keyed *users, *events;
    const Layout *layout;
    Py_buffer rows;
    int64_t allowed_ms, session_gap_ms, bucket_ms, horizon, least_events, cold_buckets;
    int64_t watermark_ms, bucket, known, unknown, duplicates;
    int is_unfamiliar, resets;
} Pass;

typedef struct {
    Py_ssize_t number; /* in the batch */
    PyObject *click, *pseudonym, *row_object;
    PyObject *pending; /* steps of the row, borrowed; NULL: none yet */
    char *row;
    Py_ssize_t row_number;
    uint64_t id_hash;
    int64_t at_ms;
} Event;

static uint32_t crc_of[256];

static void fill_crc(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t rest = n;
        for (int bit = 0; bit < 8; bit++) rest = rest & 1 ? rest >> 1 ^ 0xEDB88320u : rest >> 1;
        crc_of[n] = rest;
    }
}

/* model.spec.item_hash: CRC-32, never 0. */
static uint32_t item_hash(const char *text, Py_ssize_t bytes) {
    uint32_t crc = ~0u;
    if (crc_of[1] == 0) fill_crc();
    for (Py_ssize_t i = 0; i < bytes; i++) crc = crc_of[(crc ^ (uint8_t)text[i]) & 255] ^ crc >> 8;
    return ~crc ? ~crc : 1;
}

/* The UTF-8 of a text that is not empty; NULL without an exception for anything else. */
static const char *text_of(PyObject *text, Py_ssize_t *bytes) {
    if (!PyUnicode_Check(text)) return NULL;
    const char *found = PyUnicode_AsUTF8AndSize(text, bytes);
    if (found == NULL) PyErr_Clear();
    return *bytes ? found : NULL;
}

/* stream_app.core.privacy.event_hasher; 0 where the text is none. */
static uint64_t event_hash(const Pass *pass, PyObject *id) {
    Py_ssize_t bytes = 0;
    uint8_t digest[DIGEST_BYTES];
    const char *text = text_of(id, &bytes);
    if (text == NULL) return 0;
    keyed_digest(pass->events, text, (size_t)bytes, digest);
    uint64_t hash = u64_at((const char *)digest) & (((uint64_t)1 << 48) - 1);
    return hash ? hash : 1;
}

static int read_number(PyObject *object, const char *name, int64_t *into) {
    PyObject *held = PyObject_GetAttrString(object, name);
    if (held == NULL) return FAILED;
    *into = PyLong_AsLongLong(held);
    Py_DECREF(held);
    return *into == -1 && PyErr_Occurred() ? FAILED : DONE;
}

static int write_number(PyObject *object, const char *name, int64_t value) {
    PyObject *made = PyLong_FromLongLong(value);
    if (made == NULL) return FAILED;
    int done = PyObject_SetAttrString(object, name, made);
    Py_DECREF(made);
    return done;
}

/* What Python may have changed, and what it has to know. */
static int read_store(Pass *pass) {
    int64_t is_unfamiliar;
    if (pass->rows.obj != NULL) PyBuffer_Release(&pass->rows);
    PyObject *bytes = PyObject_GetAttrString(pass->store, "row_bytes");
    if (bytes == NULL) return FAILED;
    int done = PyObject_GetBuffer(bytes, &pass->rows, PyBUF_WRITABLE);
    Py_DECREF(bytes);
    if (done < 0 || read_number(pass->record, "watermark_ms", &pass->watermark_ms) < 0 ||
        read_number(pass->record, "expiry_bucket", &pass->bucket) < 0 ||
        read_number(pass->record, "known_items", &pass->known) < 0 ||
        read_number(pass->record, "unknown_items", &pass->unknown) < 0 ||
        read_number(pass->record, "out_of_vocabulary", &is_unfamiliar) < 0)
        return FAILED;
    pass->is_unfamiliar = (int)is_unfamiliar;
    return DONE;
}

static int write_record(Pass *pass) {
    PyObject *is_unfamiliar = pass->is_unfamiliar ? Py_True : Py_False;
    if (write_number(pass->record, "watermark_ms", pass->watermark_ms) < 0 ||
        write_number(pass->record, "known_items", pass->known) < 0 ||
        write_number(pass->record, "unknown_items", pass->unknown) < 0)
        return FAILED;
    return PyObject_SetAttrString(pass->record, "out_of_vocabulary", is_unfamiliar);
}

static int find_row(Pass *pass, Event *event) {
    event->row_object = PyDict_GetItemWithError(pass->slots, event->pseudonym);
    if (event->row_object == NULL) return PyErr_Occurred() ? FAILED : LEFT;
    event->row_number = PyLong_AsSsize_t(event->row_object);
    Py_ssize_t end = pass->rows.len / pass->layout->row_bytes;
    if (event->row_number < 0 || event->row_number >= end) {
        PyErr_SetString(PyExc_IndexError, "a user's row lies outside of the table");
        return FAILED;
    }
    event->row = (char *)pass->rows.buf + event->row_number * pass->layout->row_bytes;
    event->pending = PyDict_GetItemWithError(pass->pending, event->row_object);
    return event->pending == NULL && PyErr_Occurred() ? FAILED : DONE;
}

/* Admission._advance_watermark with the record written before and all read anew behind it. */
static PyObject *advance_in_python(Pass *pass, const Event *event) {
    PyObject *result = NULL;
    if (write_record(pass) == 0 && write_timers(&pass->timers) == 0)
        result = PyObject_CallMethod(pass->admission, "_advance_watermark", "nL", event->number,
                                     (long long)event->at_ms);
    if (result != NULL && (read_timers(&pass->timers) < 0 || read_store(pass) < 0))
        Py_CLEAR(result);
    return result;
}

static PyObject *new_tuple(PyTypeObject *type, Py_ssize_t count, PyObject **parts) {
    PyObject *made = type->tp_alloc(type, count);
    for (Py_ssize_t n = 0; n < count; n++) {
        if (made != NULL && parts[n] != NULL)
            PyTuple_SET_ITEM(made, n, parts[n]);
        else
            Py_XDECREF(parts[n]);
        if (made != NULL && parts[n] == NULL) Py_CLEAR(made);
    }
    return made;
}

/* What the row expected: Expectation(action codes, log-probabilities). */
static PyObject *expectation(const Pass *pass, const char *row) {
    PyObject *parts[2] = {PyList_New(EXPECTED), PyList_New(EXPECTED)};
    for (int n = 0; n < EXPECTED && parts[0] != NULL && parts[1] != NULL; n++) {
        uint8_t code = (uint8_t)row[pass->layout->at[EXPECTED_ACTION] + n];
        uint16_t half = u16_at(row + pass->layout->at[EXPECTED_ACTION_LOGP] + 2 * n);
        PyObject *action = PyLong_FromLong(code), *logp = PyFloat_FromDouble(float_of_half(half));
        PyList_SET_ITEM(parts[0], n, action);
        PyList_SET_ITEM(parts[1], n, logp);
        if (action == NULL || logp == NULL) Py_CLEAR(parts[0]);
    }
    return new_tuple(pass->expectation, 2, parts);
}

static int append(PyObject *list, PyObject *made) {
    if (made == NULL) return FAILED;
    int done = PyList_Append(list, made);
    Py_DECREF(made);
    return done;
}

/* Admission._end_session */
static int end_session(Pass *pass, const Event *event, int64_t at_ms) {
    const Py_ssize_t *at = pass->layout->at;
    char *row = event->row;
    Py_ssize_t waiting = event->pending == NULL ? 0 : PyList_GET_SIZE(event->pending);
    PyObject *parts[] = {
        PyLong_FromSsize_t(event->number),
        Py_NewRef(event->pseudonym),
        Py_NewRef(event->row_object),
        PyLong_FromLongLong(at_ms),
        PyLong_FromLongLong(i64_at(row + at[LAST_OFFSET])),
        PyLong_FromUnsignedLong(u32_at(row + at[SESSION_EVENTS])),
        waiting ? Py_NewRef(PyList_GET_ITEM(event->pending, waiting - 1)) : PyLong_FromLong(-1),
        PyFloat_FromDouble(f32_at(row + at[CLOSE_SURPRISE])),
        expectation(pass, row),
        PyBool_FromLong(pass->is_unfamiliar),
    };
    if (append(pass->entries, new_tuple(pass->session_end, 10, parts)) < 0) return FAILED;
    row[at[SESSION_OPEN]] = 0;
    if (PyDict_SetItem(pass->changed, event->pseudonym, Py_None) < 0) return FAILED;
    return PySet_Add(pass->touched, event->row_object);
}

static int end_session_of(Pass *pass, Py_ssize_t number, int64_t row, int64_t at_ms) {
    PyObject *pseudonym = PyList_GetItem(pass->pseudonyms, (Py_ssize_t)row);
    if (pseudonym == NULL) return FAILED;
    Event end = {.number = number, .pseudonym = Py_NewRef(pseudonym)};
    int done = find_row(pass, &end);
    if (done == LEFT) PyErr_SetString(PyExc_KeyError, "a timer of a user who is gone");
    if (done == DONE) done = end_session(pass, &end, at_ms);
    Py_DECREF(pseudonym);
    return done;
}

static void due_of(const Pass *pass, const char *row, int64_t due[2]) {
    due[0] = i64_at(row + pass->layout->at[LAST_EVENT_MS]) + pass->session_gap_ms;
    due[1] = i64_at(row + pass->layout->at[LAST_OFFSET]);
}

/* PartitionStore.pop_due, and the ends of those sessions. */
static int end_due(Pass *pass, const Event *event) {
    int64_t expected[2], due[2];
    int found;
    int64_t row;
    while ((found = pop_timer(&pass->timers, event->at_ms, &row, expected)) == 1) {
        if (row >= pass->rows.len / pass->layout->row_bytes) {
            PyErr_SetString(PyExc_IndexError, "a timer's row lies outside of the table");
            return FAILED;
        }
        char *held = (char *)pass->rows.buf + row * pass->layout->row_bytes;
        if (!held[pass->layout->at[SESSION_OPEN]]) continue;
        due_of(pass, held, due);
        int done = due[0] == expected[0] && due[1] == expected[1]
                       ? end_session_of(pass, event->number, row, due[0])
                       : set_timer(&pass->timers, row, due);
        if (done != DONE) return FAILED;
    }
    return found;
}

/* Admission._has_seen: 1 for an event id that the ring holds, or will after this pass. */
static int has_seen(const Pass *pass, const Event *event) {
    const Layout *layout = pass->layout;
    Py_ssize_t waiting = event->pending == NULL ? 0 : PyList_GET_SIZE(event->pending);
    Py_ssize_t first = waiting > layout->ring_length ? waiting - layout->ring_length : 0;
    for (Py_ssize_t n = first; n < waiting; n++) {
        Py_ssize_t step = PyLong_AsSsize_t(PyList_GET_ITEM(event->pending, n));
        PyObject *hash = PyList_GetItem(pass->columns[ID_HASH], step);
        if (hash == NULL) return FAILED;
        if (PyLong_AsUnsignedLongLong(hash) == event->id_hash) return 1;
    }
    uint32_t low = (uint32_t)event->id_hash;
    Py_ssize_t filled = (uint8_t)event->row[layout->at[USED]];
    Py_ssize_t start = (uint8_t)event->row[layout->at[NEXT]];
    const char *ring = event->row + layout->at[RING];
    if (filled > layout->ring_length) filled = layout->ring_length;
    for (Py_ssize_t place = 0; place < filled; place++) {
        const char *entry = ring + place * layout->entry_bytes;
        if (u32_at(entry + layout->in_entry[ID_LOW]) != low) continue;
        uint64_t high = u16_at(entry + layout->in_entry[ID_HIGH]) & ID_HIGH_HASH;
        Py_ssize_t behind = (place - start + layout->ring_length) % layout->ring_length;
        if (high == event->id_hash >> 32 && behind >= waiting) return 1;
    }
    return 0;
}

/* Admission._advance_watermark, itself only where users may have expired. */
static int advance_watermark(Pass *pass, Event *event) {
    int moves = event->at_ms > pass->watermark_ms;
    int64_t now_ms = moves ? event->at_ms : pass->watermark_ms;
    if (now_ms / pass->bucket_ms == pass->bucket) {
        pass->watermark_ms = now_ms;
        return moves ? end_due(pass, event) : DONE;
    }
    PyObject *went_on = advance_in_python(pass, event);
    if (went_on == NULL) return FAILED;
    int is_cut = went_on == Py_False;
    Py_DECREF(went_on);
    return is_cut ? LEFT : find_row(pass, event);
}

static int append_number(Pass *pass, int column, int64_t value) {
    return append(pass->columns[column], PyLong_FromLongLong(value));
}

static int append_flag(Pass *pass, int column, int value) {
    return PyList_Append(pass->columns[column], value ? Py_True : Py_False);
}

/* PartitionRecord.see_item */
static void see_item(Pass *pass, int is_known) {
    if (is_known)
        pass->known++;
    else
        pass->unknown++;
    int64_t items = pass->known + pass->unknown;
    if (items >= pass->horizon) {
        pass->known /= 2;
        pass->unknown /= 2;
    }
    pass->is_unfamiliar = items >= pass->least_events && pass->unknown > pass->known;
}

/* Items and actions by code. */
static int book_codes(Pass *pass, Event *event, uint32_t hash) {
    PyObject *item = PyTuple_GET_ITEM(event->click, ITEM_ID), *code = NULL;
    int64_t known = PyDict_GET_SIZE(pass->codes);
    if (item != Py_None) {
        code = PyDict_GetItemWithError(pass->codes, item);
        if (code == NULL && PyErr_Occurred()) return FAILED;
        see_item(pass, code != NULL);
    }
    if (code != NULL) {
        if (PyList_Append(pass->columns[ITEM_CODE], code) < 0) return FAILED;
    } else {
        int64_t bucket = item == Py_None ? pass->cold_buckets : hash % pass->cold_buckets;
        if (append_number(pass, ITEM_CODE, known + bucket) < 0) return FAILED;
    }
    PyObject *name = PyTuple_GET_ITEM(event->click, ACTION_NAME);
    PyObject *action = PyDict_GetItemWithError(pass->action_codes, name);
    if (action == NULL && PyErr_Occurred()) return FAILED;
    if (action != NULL) return PyList_Append(pass->columns[ACTION_AT], action);
    return append_number(pass, ACTION_AT, 1);
}

/* Admission._book */
static int book(Pass *pass, Event *event, uint32_t hash) {
    const Layout *layout = pass->layout;
    Py_ssize_t step = PyList_GET_SIZE(pass->columns[ROW]);
    PyObject *dwell = PyTuple_GET_ITEM(event->click, CLICK_DWELL_MS);
    if (event->pending == NULL) {
        PyObject *fresh = PyList_New(0);
        if (fresh == NULL) return FAILED;
        int done = PyDict_SetItem(pass->pending, event->row_object, fresh);
        Py_DECREF(fresh);
        if (done < 0) return FAILED;
        event->pending = fresh;
    }
    PyObject *entry = pass->step_at->tp_alloc(pass->step_at, 1), *number = PyLong_FromSsize_t(step);
    if (entry == NULL || number == NULL) {
        Py_XDECREF(entry);
        Py_XDECREF(number);
        return FAILED;
    }
    PyTuple_SET_ITEM(entry, 0, number);
    int64_t dwell_ms = dwell == Py_None ? -1 : PyLong_AsLongLong(dwell);
    if (append_number(pass, ROUND, PyList_GET_SIZE(event->pending)) < 0 ||
        PyList_Append(event->pending, number) < 0 || append(pass->entries, entry) < 0 ||
        append_number(pass, BATCH_ROW, event->number) < 0 ||
        PyList_Append(pass->columns[ROW], event->row_object) < 0 ||
        PyList_Append(pass->columns[AT_MS], PyTuple_GET_ITEM(event->click, CLICK_AT_MS)) < 0 ||
        append_number(pass, DWELL_MS, dwell_ms) < 0 ||
        append_number(pass, POSITION, u32_at(event->row + layout->at[SESSION_EVENTS])) < 0 ||
        append_number(pass, TOTAL, u32_at(event->row + layout->at[EVENTS_TOTAL])) < 0 ||
        book_codes(pass, event, hash) < 0 || append_number(pass, ITEM_HASH, hash) < 0 ||
        append_number(pass, ID_HASH, (int64_t)event->id_hash) < 0 ||
        append_flag(pass, FALLBACK, pass->is_unfamiliar) < 0 ||
        PyList_Append(pass->columns[CLICK], event->click) < 0 ||
        PyList_Append(pass->columns[PSEUDONYM], event->pseudonym) < 0)
        return FAILED;
    return PySet_Add(pass->touched, event->row_object);
}

/* UserTable.touch and PartitionStore.set_timer */
static int touch(Pass *pass, Event *event) {
    PyObject *moved = PyObject_CallMethod(pass->slots, "move_to_end", "O", event->pseudonym);
    if (moved == NULL) return FAILED;
    Py_DECREF(moved);
    if (PyDict_SetItem(pass->changed, event->pseudonym, Py_None) < 0) return FAILED;
    if (has_timer(&pass->timers, event->row_number)) return DONE;
    int64_t due[2];
    due_of(pass, event->row, due);
    return set_timer(&pass->timers, event->row_number, due);
}

static int start_session(Pass *pass, Event *event, uint64_t session) {
    const Py_ssize_t *at = pass->layout->at;
    char *row = event->row;
    if (row[at[SESSION_OPEN]] && end_session(pass, event, event->at_ms) < 0) return FAILED;
    row[at[SESSION_OPEN]] = 1;
    PUT(row + at[SESSION_HASH], uint64_t, session);
    PUT(row + at[SESSION_STARTED_MS], int64_t, event->at_ms);
    PUT(row + at[SESSION_EVENTS], uint32_t, 0);
    PUT(row + at[SESSIONS_TOTAL], uint32_t, u32_at(row + at[SESSIONS_TOTAL]) + 1);
    PUT(row + at[LAST_ITEM], uint32_t, 0);
    return DONE;
}

/* Admission._step for what is not late */
static int step(Pass *pass, Event *event, uint64_t session, uint32_t hash, int64_t offset) {
    const Py_ssize_t *at = pass->layout->at;
    int64_t last_ms = i64_at(event->row + at[LAST_EVENT_MS]);
    int is_first = u32_at(event->row + at[EVENTS_TOTAL]) == 0;
    int64_t gap_ms = is_first ? -1 : event->at_ms - last_ms;
    int starts = is_first || (session ? session != u64_at(event->row + at[SESSION_HASH])
                                      : gap_ms >= pass->session_gap_ms);
    if (starts) {
        if (start_session(pass, event, session) < 0) return FAILED;
    } else if (gap_ms >= pass->session_gap_ms) {
        event->row[at[SESSION_OPEN]] = 1;
    }
    char *row = event->row;
    uint32_t source = u32_at(row + at[LAST_ITEM]);
    PUT(row + at[LAST_EVENT_MS], int64_t, event->at_ms);
    PUT(row + at[SESSION_EVENTS], uint32_t, u32_at(row + at[SESSION_EVENTS]) + 1);
    if (hash) PUT(row + at[LAST_ITEM], uint32_t, hash);
    PUT(row + at[LAST_OFFSET], int64_t, offset);
    PUT(row + at[EVENTS_TOTAL], uint32_t, u32_at(row + at[EVENTS_TOTAL]) + 1);
    if (append_flag(pass, STARTS, starts) < 0 ||
        append_number(pass, GAP_MS, starts && pass->resets ? -1 : gap_ms) < 0 ||
        append_number(pass, SOURCE_ITEM, source) < 0 || book(pass, event, hash) < 0)
        return FAILED;
    return touch(pass, event);
}

/* Admission._admit_click up to the step */
static int admit_click(Pass *pass, Event *event) {
    Py_ssize_t bytes = 0;
    uint64_t session = 0;
    uint32_t hash = 0;
    PyObject *item = PyTuple_GET_ITEM(event->click, ITEM_ID);
    PyObject *named = PyTuple_GET_ITEM(event->click, SESSION_ID);
    PyObject *id = PyTuple_GET_ITEM(event->click, EVENT_ID);
    if (named != Py_None && (session = event_hash(pass, named)) == 0) return LEFT;
    if (item != Py_None) {
        const char *text = text_of(item, &bytes);
        if (text == NULL) return LEFT;
        hash = item_hash(text, bytes);
    }
    int found = find_row(pass, event);
    if (found != DONE) return found;
    if (PyDict_GET_SIZE(pass->timelines) > 0) {
        int is_told = PyDict_Contains(pass->timelines, event->row_object);
        if (is_told) return is_told < 0 ? FAILED : LEFT;
    }
    PyObject *given = PySequence_GetItem(pass->offsets, event->number);
    if (given == NULL) return FAILED;
    int64_t offset = PyLong_AsLongLong(given);
    Py_DECREF(given);
    if (offset == -1 && PyErr_Occurred()) return FAILED;
    uint64_t mask = ((uint64_t)1 << ID_HASH_BITS) - 1;
    if (id == Py_None) {
        event->id_hash = mix((uint64_t)offset) & mask;
    } else {
        uint64_t whole = event_hash(pass, id);
        if (whole == 0) return LEFT;
        event->id_hash = whole & mask;
        int seen = has_seen(pass, event);
        if (seen < 0) return FAILED;
        if (seen) {
            pass->duplicates++;
            return DONE;
        }
    }
    if (pass->watermark_ms - event->at_ms > pass->allowed_ms ||
        event->at_ms < i64_at(event->row + pass->layout->at[LAST_EVENT_MS]))
        return LEFT;
    int moved = advance_watermark(pass, event);
    return moved == DONE ? step(pass, event, session, hash, offset) : moved;
}

static int admit_one(Pass *pass, Py_ssize_t number) {
    Py_ssize_t bytes = 0;
    uint8_t digest[DIGEST_BYTES];
    PyObject *click = PyList_GET_ITEM(pass->cleaned, number);
    if (Py_TYPE(click) != pass->click) return LEFT;
    const char *user = text_of(PyTuple_GET_ITEM(click, USER_ID), &bytes);
    int64_t at_ms = PyLong_AsLongLong(PyTuple_GET_ITEM(click, CLICK_AT_MS));
    if (at_ms < 0) PyErr_Clear();
    if (user == NULL || at_ms < 0) return LEFT;
    keyed_digest(pass->users, user, (size_t)bytes, digest);
    PyObject *pseudonym = PyBytes_FromStringAndSize((const char *)digest, 16);
    if (pseudonym == NULL) return FAILED;
    Event event = {.number = number, .click = click, .pseudonym = pseudonym, .at_ms = at_ms};
    int done = admit_click(pass, &event);
    Py_DECREF(pseudonym);
    return done;
}

/* --- what a call begins and ends with */

static PyObject *attribute(PyObject *object, const char *name, PyTypeObject *type) {
    PyObject *found = object == NULL ? NULL : PyObject_GetAttrString(object, name);
    if (found != NULL && type != NULL && !PyObject_TypeCheck(found, type)) {
        PyErr_Format(PyExc_TypeError, "%s is no %s", name, type->tp_name);
        Py_CLEAR(found);
    }
    return found;
}

static int read_limits(Pass *pass, PyObject *vocabulary) {
    PyObject *config = attribute(pass->store, "config", NULL);
    PyObject *spec = attribute(pass->store, "spec", NULL);
    int64_t resets = 0;
    int done = config == NULL || spec == NULL || vocabulary == NULL ||
               read_number(config, "allowed_lateness_ms", &pass->allowed_ms) < 0 ||
               read_number(spec, "session_gap_ms", &pass->session_gap_ms) < 0 ||
               read_number(spec, "reset_at_session", &resets) < 0 ||
               read_number(vocabulary, "cold_buckets", &pass->cold_buckets) < 0;
    Py_XDECREF(config);
    Py_XDECREF(spec);
    pass->resets = (int)resets;
    if (!done && pass->cold_buckets > 0) return DONE;
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "there must be cold buckets");
    return FAILED;
}

static int open_pass(Pass *pass, PyObject *admission) {
    PyObject *batch = attribute(admission, "batch", NULL), *steps = attribute(admission, "steps", NULL);
    PyObject *vocabulary = attribute(admission, "_vocabulary", NULL);
    PyObject *store = pass->store = attribute(admission, "store", NULL);
    PyObject *timers = attribute(store, "_timers", NULL), *hashes = attribute(store, "keyed", NULL);
    PyObject *codec = attribute(store, "codec", NULL), *layout = attribute(codec, "layout", NULL);
    int is_whole = 1;
    pass->admission = admission;
    pass->record = attribute(store, "record", NULL);
    for (int n = 0; n < COLUMN_COUNT; n++)
        is_whole &= (pass->columns[n] = attribute(steps, COLUMNS[n], &PyList_Type)) != NULL;
    is_whole &= (pass->cleaned = attribute(admission, "_cleaned", &PyList_Type)) != NULL;
    is_whole &= (pass->entries = attribute(admission, "entries", &PyList_Type)) != NULL;
    is_whole &= (pass->pending = attribute(admission, "_pending", &PyDict_Type)) != NULL;
    is_whole &= (pass->timelines = attribute(admission, "_timelines", &PyDict_Type)) != NULL;
    is_whole &= (pass->touched = attribute(admission, "_touched", &PySet_Type)) != NULL;
    is_whole &= (pass->action_codes = attribute(admission, "_action_codes", &PyDict_Type)) != NULL;
    is_whole &= (pass->offsets = attribute(batch, "offsets", NULL)) != NULL;
    is_whole &= (pass->slots = attribute(store, "slots", &PyDict_Type)) != NULL;
    is_whole &= (pass->pseudonyms = attribute(store, "pseudonyms", &PyList_Type)) != NULL;
    is_whole &= (pass->changed = attribute(store, "changed", &PyDict_Type)) != NULL;
    is_whole &= timers != NULL && open_timers(&pass->timers, timers) == 0;
    is_whole &= (pass->codes = attribute(vocabulary, "codes", &PyDict_Type)) != NULL;
    if (is_whole && hashes != NULL && layout != NULL && PyTuple_Check(hashes) &&
        PyTuple_GET_SIZE(hashes) == 2) {
        /* Both are the store's for as long as it lives; the layout is the codec's. */
        pass->users = keyed_of(PyTuple_GET_ITEM(hashes, 0));
        pass->events = keyed_of(PyTuple_GET_ITEM(hashes, 1));
        pass->layout = layout_of(layout);
    }
    is_whole &= pass->users != NULL && pass->events != NULL && pass->layout != NULL &&
                read_limits(pass, vocabulary) == DONE && read_store(pass) == DONE;
    Py_XDECREF(batch);
    Py_XDECREF(steps);
    Py_XDECREF(vocabulary);
    Py_XDECREF(timers);
    Py_XDECREF(hashes);
    Py_XDECREF(codec);
    Py_XDECREF(layout);
    if (!is_whole && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "the store was made without compiled passes");
    return is_whole ? DONE : FAILED;
}

static void close_pass(Pass *pass) {
    for (int n = 0; n < COLUMN_COUNT; n++) Py_XDECREF(pass->columns[n]);
    PyObject *held[] = {pass->store,   pass->record,  pass->cleaned, pass->entries,
                        pass->pending, pass->touched, pass->slots,   pass->timelines,
                        pass->changed, pass->codes,   pass->offsets, pass->action_codes,
                        pass->pseudonyms};
    for (size_t n = 0; n < sizeof held / sizeof *held; n++) Py_XDECREF(held[n]);
    release_timers(&pass->timers);
    if (pass->rows.obj != NULL) PyBuffer_Release(&pass->rows);
}

/* admit(admission, start, (Click, StepAt, SessionEnd, Expectation), bucket ms, vocabulary horizon,
   least events) -> the place of the first record that is left to Python. */
PyObject *admit(PyObject *module, PyObject *args) {
    PyObject *admission, *result = NULL;
    Py_ssize_t number;
    long long bucket_ms, horizon, least_events;
    Pass pass = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "On(O!O!O!O!)LLL", &admission, &number, &PyType_Type, &pass.click,
                          &PyType_Type, &pass.step_at, &PyType_Type, &pass.session_end,
                          &PyType_Type, &pass.expectation, &bucket_ms, &horizon, &least_events))
        return NULL;
    pass.bucket_ms = bucket_ms, pass.horizon = horizon, pass.least_events = least_events;
    if (open_pass(&pass, admission) == DONE) {
        int done = DONE;
        int64_t duplicates = 0;
        Py_ssize_t end = PyList_GET_SIZE(pass.cleaned);
        while (number < end && (done = admit_one(&pass, number)) == DONE) number++;
        if (done != FAILED && write_timers(&pass.timers) == 0 && write_record(&pass) == DONE &&
            read_number(admission, "duplicates", &duplicates) == DONE &&
            write_number(admission, "duplicates", duplicates + pass.duplicates) == DONE)
            result = PyLong_FromSsize_t(number);
    }
    close_pass(&pass);
    return result;
}
