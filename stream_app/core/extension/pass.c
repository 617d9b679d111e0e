/* Pass 1: what a call begins and ends with. */

#include "admission.h"

int make_room(Pass *pass, Py_ssize_t steps) {
    return PyByteArray_Resize(pass->table, (pass->step_count + steps) * (Py_ssize_t)sizeof(Step));
}

int end_room(Pass *pass) { return make_room(pass, 0); }

static int open_buffer(PyObject *object, const char *name, Py_buffer *buffer) {
    if (buffer->obj != NULL) PyBuffer_Release(buffer);
    PyObject *array = PyObject_GetAttrString(object, name);
    if (array == NULL) return FAILED;
    int done = PyObject_GetBuffer(array, buffer, PyBUF_WRITABLE);
    if (done < 0) buffer->obj = NULL;
    Py_DECREF(array);
    return done;
}

int read_number(PyObject *object, const char *name, int64_t *into) {
    PyObject *held = PyObject_GetAttrString(object, name);
    if (held == NULL) return FAILED;
    *into = PyLong_AsLongLong(held);
    Py_DECREF(held);
    return *into == -1 && PyErr_Occurred() ? FAILED : DONE;
}

int write_number(PyObject *object, const char *name, int64_t value) {
    PyObject *made = PyLong_FromLongLong(value);
    if (made == NULL) return FAILED;
    int done = PyObject_SetAttrString(object, name, made);
    Py_DECREF(made);
    return done;
}

int read_rows(Pass *pass) {
    int done = open_buffer(pass->store, "row_bytes", &pass->rows);
    return done < 0 ? done : open_buffer(pass->store, "step_numbers", &pass->step_numbers);
}

int read_store(Pass *pass) {
    int64_t is_unfamiliar;
    if (read_rows(pass) < 0 || read_number(pass->record, "watermark_ms", &pass->watermark_ms) < 0 ||
        read_number(pass->record, "expiry_bucket", &pass->bucket) < 0 ||
        read_number(pass->record, "known_items", &pass->known) < 0 ||
        read_number(pass->record, "unknown_items", &pass->unknown) < 0 ||
        read_number(pass->record, "out_of_vocabulary", &is_unfamiliar) < 0)
        return FAILED;
    pass->is_unfamiliar = (int)is_unfamiliar;
    return DONE;
}

int write_record(Pass *pass) {
    PyObject *is_unfamiliar = pass->is_unfamiliar ? Py_True : Py_False;
    if (write_number(pass->record, "watermark_ms", pass->watermark_ms) < 0 ||
        write_number(pass->record, "known_items", pass->known) < 0 ||
        write_number(pass->record, "unknown_items", pass->unknown) < 0)
        return FAILED;
    return PyObject_SetAttrString(pass->record, "out_of_vocabulary", is_unfamiliar);
}

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
               read_number(config, "max_users_per_partition", &pass->most_users) < 0 ||
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

int open_pass(Pass *pass, PyObject *admission) {
    PyObject *batch = attribute(admission, "batch", NULL), *steps = attribute(admission, "steps", NULL);
    PyObject *vocabulary = attribute(admission, "_vocabulary", NULL);
    PyObject *store = pass->store = attribute(admission, "store", NULL);
    PyObject *timers = attribute(store, "_timers", NULL), *hashes = attribute(store, "keyed", NULL);
    PyObject *codec = attribute(store, "codec", NULL), *layout = attribute(codec, "layout", NULL);
    PyObject *pending = attribute(admission, "pending", NULL), *late = attribute(admission, "late", NULL);
    int is_whole = pending != NULL;
    pass->admission = admission;
    pass->record = attribute(store, "record", NULL);
    is_whole &= (pass->table = attribute(steps, "table", &PyByteArray_Type)) != NULL;
    is_whole &= (pass->clicks = attribute(steps, "click", &PyList_Type)) != NULL;
    is_whole &= (pass->cleaned = attribute(admission, "_cleaned", &PyList_Type)) != NULL;
    is_whole &= (pass->others = attribute(admission, "others", &PyList_Type)) != NULL;
    is_whole &= (pass->timelines = attribute(late, "by_row", &PyDict_Type)) != NULL;
    is_whole &= (pass->ended = attribute(pending, "ended", &PySet_Type)) != NULL;
    is_whole &= (pass->action_codes = attribute(admission, "_action_codes", &PyDict_Type)) != NULL;
    is_whole &= (pass->offsets = attribute(batch, "offsets", NULL)) != NULL;
    is_whole &= (pass->slots = attribute(store, "slots", NULL)) != NULL;
    is_whole &= is_whole && (pass->index = user_index_of(pass->slots)) != NULL;
    is_whole &= (pass->changed = attribute(store, "changed", &PyDict_Type)) != NULL;
    is_whole &= (pass->add = PyUnicode_InternFromString("add")) != NULL;
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
                read_limits(pass, vocabulary) == DONE && read_store(pass) == DONE &&
                read_number(pending, "first", &pass->first_step) == DONE;
    if (is_whole) pass->step_count = PyList_GET_SIZE(pass->clicks);
    Py_XDECREF(batch);
    Py_XDECREF(steps);
    Py_XDECREF(pending);
    Py_XDECREF(late);
    Py_XDECREF(vocabulary);
    Py_XDECREF(timers);
    Py_XDECREF(hashes);
    Py_XDECREF(codec);
    Py_XDECREF(layout);
    if (!is_whole && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "the store was made without compiled passes");
    return is_whole ? DONE : FAILED;
}

void close_pass(Pass *pass) {
    PyObject *held[] = {pass->store,  pass->record,     pass->cleaned,      pass->others,
                        pass->clicks, pass->table,      pass->ended,        pass->slots,
                        pass->codes,  pass->timelines,  pass->action_codes, pass->changed,
                        pass->offsets, pass->add};
    for (size_t n = 0; n < sizeof held / sizeof *held; n++) Py_XDECREF(held[n]);
    release_timers(&pass->timers);
    if (pass->rows.obj != NULL) PyBuffer_Release(&pass->rows);
    if (pass->step_numbers.obj != NULL) PyBuffer_Release(&pass->step_numbers);
    if (pass->dwell_edges.obj != NULL) PyBuffer_Release(&pass->dwell_edges);
}
