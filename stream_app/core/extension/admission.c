/* Pass 1 for the clicks that most are: not late, and under memories of one generation. Whatever else
   comes is left to stream_app.core.admit: parts of it by a call of a method (users who may have
   expired, rows for new ones), the whole record by returning its place. */

#include "admission.h"

#include "../native/splitmix.h"

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

const char *text_of(PyObject *text, Py_ssize_t *bytes) {
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

/* Admission._advance_watermark with the record written before and all read anew behind it. */
static PyObject *advance_in_python(Pass *pass, const Event *event) {
    PyObject *result = NULL;
    if (write_record(pass) == 0 && write_timers(&pass->timers) == 0 && end_room(pass) == 0)
        result = PyObject_CallMethod(pass->admission, "_advance_watermark", "nL", event->number,
                                     (long long)event->at_ms);
    Py_ssize_t left = PyList_GET_SIZE(pass->cleaned) - event->number;
    if (result != NULL && (read_timers(&pass->timers) < 0 || read_store(pass) < 0 ||
                           make_room(pass, left) < 0))
        Py_CLEAR(result);
    return result;
}

/* Admission._has_seen: 1 for an event id that the ring holds, or will after this pass. */
static int has_seen(const Pass *pass, const Event *event) {
    const Layout *layout = pass->layout;
    Py_ssize_t waiting = event->newest < 0 ? 0 : step_at(pass, event->newest)->round + 1;
    Py_ssize_t step = event->newest;
    for (Py_ssize_t n = 0; n < layout->ring_length && step >= 0; n++) {
        if (step_at(pass, step)->id_hash == event->id_hash) return 1;
        step = (Py_ssize_t)step_at(pass, step)->before;
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
    if (is_cut) return LEFT;
    /* The user may have expired. */
    event->row = NULL;
    return find_row(pass, event) == FAILED ? FAILED : DONE;
}

/* UserTable.add, where nobody has to make room for it. */
static int add_user(Pass *pass, Event *event) {
    if (pass->index->count >= pass->most_users) return LEFT;
    PyObject *row = PyObject_CallMethodOneArg(pass->store, pass->add, event->pseudonym);
    Py_XDECREF(row);
    return row == NULL || read_rows(pass) < 0 ? FAILED : find_row(pass, event);
}

/* UserTable.touch and PartitionStore.set_timer */
static int touch(Pass *pass, Event *event) {
    touch_user(pass->index, (int32_t)event->row_number);
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
static int make_step(Pass *pass, Event *event, uint64_t session, uint32_t hash, int64_t offset) {
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
    Step made = {.offset = offset, .gap_ms = starts && pass->resets ? -1 : gap_ms, .source_item = source,
                 .starts = (uint8_t)starts};
    return book(pass, event, hash, made) < 0 ? FAILED : touch(pass, event);
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
    if (find_row(pass, event) == FAILED) return FAILED;
    int is_new = event->row == NULL;
    if (!is_new && PyDict_GET_SIZE(pass->timelines) > 0) {
        PyObject *row = PyLong_FromSsize_t(event->row_number);
        int is_told = row == NULL ? -1 : PyDict_Contains(pass->timelines, row);
        Py_XDECREF(row);
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
        if (!is_new && has_seen(pass, event)) {
            pass->duplicates++;
            return DONE;
        }
    }
    if (pass->watermark_ms - event->at_ms > pass->allowed_ms ||
        (!is_new && event->at_ms < i64_at(event->row + pass->layout->at[LAST_EVENT_MS])))
        return LEFT;
    int done = advance_watermark(pass, event);
    if (done == DONE && event->row == NULL) done = add_user(pass, event);
    return done == DONE ? make_step(pass, event, session, hash, offset) : done;
}

static int admit_one(Pass *pass, Ahead *ahead, Py_ssize_t number) {
    PyObject *click = PyList_GET_ITEM(pass->cleaned, number);
    const Coming *coming = look_ahead(pass, ahead, number);
    if (!coming->is_click) return LEFT;
    int64_t at_ms = PyLong_AsLongLong(PyTuple_GET_ITEM(click, CLICK_AT_MS));
    if (at_ms < 0) {
        PyErr_Clear();
        return LEFT;
    }
    PyObject *pseudonym = PyBytes_FromStringAndSize((const char *)coming->name, NAME_BYTES);
    if (pseudonym == NULL) return FAILED;
    Event event = {.number = number, .click = click, .pseudonym = pseudonym, .at_ms = at_ms};
    int done = admit_click(pass, &event);
    Py_DECREF(pseudonym);
    return done;
}

/* admit(admission, start, (Click, SessionEnd), duration edges, bucket ms, vocabulary
   horizon, least events) -> the place of the first record that is left to Python. */
PyObject *admit(PyObject *module, PyObject *args) {
    PyObject *admission, *edges, *result = NULL;
    Py_ssize_t number;
    long long bucket_ms, horizon, least_events;
    Pass pass = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "On(O!O!)OLLL", &admission, &number, &PyType_Type, &pass.click,
                          &PyType_Type, &pass.session_end, &edges, &bucket_ms, &horizon, &least_events))
        return NULL;
    pass.bucket_ms = bucket_ms, pass.horizon = horizon, pass.least_events = least_events;
    if (PyObject_GetBuffer(edges, &pass.dwell_edges, PyBUF_SIMPLE) < 0) return NULL;
    if (open_pass(&pass, admission) == DONE &&
        make_room(&pass, PyList_GET_SIZE(pass.cleaned) - number) == DONE) {
        int done = DONE;
        int64_t duplicates = 0;
        Py_ssize_t end = PyList_GET_SIZE(pass.cleaned);
        Ahead ahead = {.end = number};
        while (number < end && (done = admit_one(&pass, &ahead, number)) == DONE) number++;
        if (end_room(&pass) == DONE && done != FAILED && write_timers(&pass.timers) == 0 && write_record(&pass) == DONE &&
            read_number(admission, "duplicates", &duplicates) == DONE &&
            write_number(admission, "duplicates", duplicates + pass.duplicates) == DONE)
            result = PyLong_FromSsize_t(number);
    }
    close_pass(&pass);
    return result;
}
