/* Records to clicks: stream_app.core.clean.reader for those that are written plainly. */

#include "json_click.h"

#define MOST_ACTIONS 64

static const char NAME[] = "stream_app.core.extension.reading";

/* A name of an action as producers write it, and what stream_app.core.clean makes of it. */
typedef struct {
    PyObject *written, *canonical; /* bytes, str; None: not a click's */
} Action;

typedef struct {
    JsonForm json;
    PyObject *names, *canonical; /* names: what json.names points into */
    int64_t most_bytes, most_key_bytes, future_ms;
    int actions;
    Action action[MOST_ACTIONS];
} Reading;

static void release(PyObject *capsule) {
    Reading *reading = PyCapsule_GetPointer(capsule, NAME);
    for (int n = 0; n < reading->actions; n++) {
        Py_DECREF(reading->action[n].written);
        Py_DECREF(reading->action[n].canonical);
    }
    Py_XDECREF(reading->names);
    Py_XDECREF(reading->canonical);
    PyMem_Free(reading);
}

/* reading(names of the fields, canonical action of a name, (most bytes, most bytes of a key,
           future ms, latest ms, most bytes of an id, most dwell ms)) */
PyObject *new_reading(PyObject *module, PyObject *args) {
    PyObject *names, *canonical;
    long long limits[6];
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O(LLLLLL)", &PyTuple_Type, &names, &canonical, limits,
                          limits + 1, limits + 2, limits + 3, limits + 4, limits + 5))
        return NULL;
    Reading *reading = PyMem_Calloc(1, sizeof *reading);
    if (reading == NULL) return PyErr_NoMemory();
    reading->most_bytes = limits[0], reading->most_key_bytes = limits[1];
    reading->future_ms = limits[2], reading->json.latest_ms = limits[3];
    reading->json.id_limit = (Py_ssize_t)limits[4], reading->json.dwell_limit_ms = limits[5];
    reading->names = Py_NewRef(names), reading->canonical = Py_NewRef(canonical);
    PyObject *capsule = PyCapsule_New(reading, NAME, release);
    if (capsule == NULL) PyMem_Free(reading);
    if (capsule == NULL) return NULL;
    for (Py_ssize_t n = 0; n < JSON_FIELDS && PyTuple_GET_SIZE(names) == JSON_FIELDS; n++) {
        reading->json.names[n] =
            PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(names, n), &reading->json.name_bytes[n]);
        if (reading->json.names[n] == NULL) Py_CLEAR(capsule);
        if (capsule == NULL) return NULL;
    }
    if (PyTuple_GET_SIZE(names) == JSON_FIELDS) return capsule;
    Py_DECREF(capsule);
    return PyErr_Format(PyExc_ValueError, "%d names of fields are needed", JSON_FIELDS);
}

/* The canonical name of an action, borrowed or, where it is told for the first time and there is no
   room to keep it, `fresh`; None for what is no click; NULL with an exception. */
static PyObject *action_of(Reading *reading, const char *text, Py_ssize_t bytes, PyObject **fresh) {
    for (int n = 0; n < reading->actions; n++) {
        PyObject *held = reading->action[n].written;
        if (PyBytes_GET_SIZE(held) == bytes &&
            memcmp(PyBytes_AS_STRING(held), text, (size_t)bytes) == 0)
            return reading->action[n].canonical;
    }
    *fresh = bytes == 0 ? PyObject_CallFunction(reading->canonical, "O", Py_None)
                        : PyObject_CallFunction(reading->canonical, "s#", text, bytes);
    PyObject *written = *fresh == NULL ? NULL : PyBytes_FromStringAndSize(text, bytes);
    if (written == NULL) return NULL;
    if (reading->actions < MOST_ACTIONS)
        reading->action[reading->actions++] = (Action){written, Py_NewRef(*fresh)};
    else
        Py_DECREF(written);
    return *fresh;
}

static PyObject *text_at(const char *value, Span span) {
    if (span.bytes == 0) return Py_NewRef(Py_None);
    return PyUnicode_DecodeUTF8(value + span.start, span.bytes, NULL);
}

static PyObject *new_click(PyTypeObject *type, const char *value, const Parts *parts,
                           PyObject *action) {
    PyObject *made = type->tp_alloc(type, 8);
    if (made == NULL) return NULL;
    PyTuple_SET_ITEM(made, 0, text_at(value, parts->user));
    PyTuple_SET_ITEM(made, 1, text_at(value, parts->event));
    PyTuple_SET_ITEM(made, 2, text_at(value, parts->session));
    PyTuple_SET_ITEM(made, 3, text_at(value, parts->item));
    PyTuple_SET_ITEM(made, 4, Py_NewRef(action));
    PyTuple_SET_ITEM(made, 5, PyLong_FromLongLong(parts->at_ms));
    PyTuple_SET_ITEM(made, 6, parts->dwell_ms < 0 ? Py_NewRef(Py_None)
                                                  : PyLong_FromLongLong(parts->dwell_ms));
    PyTuple_SET_ITEM(made, 7, text_at(value, parts->promotion));
    for (int n = 0; made != NULL && n < 8; n++)
        if (PyTuple_GET_ITEM(made, n) == NULL) Py_CLEAR(made);
    /* Texts and numbers refer to nothing: the collector need not look. */
    if (made != NULL) PyObject_GC_UnTrack(made);
    return made;
}

/* A click, None where it is left to Python, NULL with an exception. */
static PyObject *read_one(Reading *reading, PyTypeObject *type, PyObject *key, PyObject *value,
                          int64_t received_ms) {
    Parts parts;
    PyObject *fresh = NULL, *made;
    if (!PyBytes_Check(value) || PyBytes_GET_SIZE(value) > reading->most_bytes) Py_RETURN_NONE;
    if (key != Py_None &&
        (!PyBytes_Check(key) || PyBytes_GET_SIZE(key) > reading->most_key_bytes))
        Py_RETURN_NONE;
    const char *text = PyBytes_AS_STRING(value);
    if (!find_parts(&reading->json, text, PyBytes_GET_SIZE(value), &parts)) Py_RETURN_NONE;
    if (received_ms >= 0 && parts.at_ms > received_ms + reading->future_ms) Py_RETURN_NONE;
    PyObject *action = action_of(reading, text + parts.action.start, parts.action.bytes, &fresh);
    if (action == NULL || action == Py_None)
        made = action == NULL ? NULL : Py_NewRef(Py_None);
    else
        made = new_click(type, text, &parts, action);
    Py_XDECREF(fresh);
    return made;
}

/* read(reading, Click, keys, values, received ms) -> [Click, or None where it is left to Python] */
PyObject *read_clicks(PyObject *module, PyObject *args) {
    PyObject *capsule, *given[3], *held[3] = {NULL}, *clicks = NULL;
    PyTypeObject *type;
    Py_ssize_t count = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO!OOO", &capsule, &PyType_Type, &type, given, given + 1,
                          given + 2))
        return NULL;
    Reading *reading = PyCapsule_GetPointer(capsule, NAME);
    int is_whole = reading != NULL;
    for (int n = 0; is_whole && n < 3; n++) {
        held[n] = PySequence_Fast(given[n], "columns are sequences");
        is_whole = held[n] != NULL;
        count = is_whole ? PySequence_Fast_GET_SIZE(held[n]) : 0;
        if (is_whole && count != PySequence_Fast_GET_SIZE(held[0])) {
            PyErr_SetString(PyExc_ValueError, "columns of one length are needed");
            is_whole = 0;
        }
    }
    if (is_whole) clicks = PyList_New(count);
    for (Py_ssize_t n = 0; clicks != NULL && n < count; n++) {
        int64_t received_ms = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(held[2], n));
        PyObject *click = NULL;
        if (received_ms != -1 || !PyErr_Occurred())
            click = read_one(reading, type, PySequence_Fast_GET_ITEM(held[0], n),
                             PySequence_Fast_GET_ITEM(held[1], n), received_ms);
        if (click == NULL)
            Py_CLEAR(clicks);
        else
            PyList_SET_ITEM(clicks, n, click);
    }
    for (int n = 0; n < 3; n++) Py_XDECREF(held[n]);
    return clicks;
}
