/* Users' rows as the changelog holds them: UserTable.packed and UserTable.take_users. */

#include "passes.h"

/* A full ring begins with its oldest event, see StateCodec.pack. */
static void turn(const Layout *layout, const char *held, char *made) {
    Py_ssize_t length = layout->ring_length, entry = layout->entry_bytes, ring = layout->at[RING];
    Py_ssize_t oldest = (uint8_t)held[layout->at[NEXT]] % length;
    memcpy(made + ring, held + ring + oldest * entry, (size_t)((length - oldest) * entry));
    memcpy(made + ring + (length - oldest) * entry, held + ring, (size_t)(oldest * entry));
    made[layout->at[NEXT]] = 0;
}

/* The value of a user, cut behind the used part of the ring. */
static PyObject *value_of(const Layout *layout, const Py_buffer *rows, PyObject *place) {
    Py_ssize_t row = PyLong_AsSsize_t(place);
    if (row < 0 || row >= rows->len / layout->row_bytes) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_IndexError, "a user's row does not exist");
        return NULL;
    }
    const char *held = (const char *)rows->buf + row * layout->row_bytes;
    Py_ssize_t used = (uint8_t)held[layout->at[USED]];
    if (used > layout->ring_length) used = layout->ring_length;
    PyObject *value =
        PyBytes_FromStringAndSize(held, layout->at[RING] + used * layout->entry_bytes);
    if (value != NULL && used == layout->ring_length && held[layout->at[NEXT]])
        turn(layout, held, PyBytes_AS_STRING(value));
    return value;
}

/* packed(row bytes, layout, slots, pseudonyms) -> [bytes]. KeyError for somebody without a row. */
PyObject *packed(PyObject *module, PyObject *args) {
    PyObject *bytes, *capsule, *slots, *pseudonyms;
    Py_buffer rows;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!O!", &bytes, &capsule, &PyDict_Type, &slots, &PyList_Type,
                          &pseudonyms))
        return NULL;
    const Layout *layout = layout_of(capsule);
    if (layout == NULL || PyObject_GetBuffer(bytes, &rows, PyBUF_SIMPLE) < 0) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(pseudonyms);
    PyObject *values = PyList_New(count);
    for (Py_ssize_t n = 0; values != NULL && n < count; n++) {
        PyObject *name = PyList_GET_ITEM(pseudonyms, n);
        PyObject *place = PyDict_GetItemWithError(slots, name);
        PyObject *value = place == NULL ? NULL : value_of(layout, &rows, place);
        if (place == NULL && !PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, name);
        if (value == NULL)
            Py_CLEAR(values);
        else
            PyList_SET_ITEM(values, n, value);
    }
    PyBuffer_Release(&rows);
    return values;
}

static PyObject *key_of(char kind, PyObject *name) {
    PyObject *key = PyBytes_FromStringAndSize(NULL, 1 + PyBytes_GET_SIZE(name));
    if (key == NULL) return NULL;
    PyBytes_AS_STRING(key)[0] = kind;
    memcpy(PyBytes_AS_STRING(key) + 1, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name));
    return key;
}

/* Put the record of a user behind the others of its list. */
static int tell(const Layout *layout, const Py_buffer *rows, PyObject *slots, PyObject *name,
                char kind, PyObject *lists[2]) {
    PyObject *place = PyDict_GetItemWithError(slots, name), *told = NULL, *value = NULL;
    if (place == NULL && PyErr_Occurred()) return -1;
    PyObject *key = key_of(kind, name);
    if (place == NULL) {
        told = key;
    } else if (key != NULL && (value = value_of(layout, rows, place)) != NULL) {
        told = PyTuple_Pack(2, key, value);
    }
    int done = told == NULL ? -1 : PyList_Append(lists[place != NULL], told);
    if (told != key) Py_XDECREF(told);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return done;
}

/* changes(row bytes, layout, slots, changed, kind) -> (keys of who is gone, (key, value) of the
   others), in the order of `changed` */
PyObject *changes(PyObject *module, PyObject *args) {
    PyObject *bytes, *capsule, *slots, *changed, *name, *ignored;
    Py_buffer rows;
    Py_ssize_t at = 0;
    char kind;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!O!c", &bytes, &capsule, &PyDict_Type, &slots, &PyDict_Type,
                          &changed, &kind))
        return NULL;
    const Layout *layout = layout_of(capsule);
    if (layout == NULL || PyObject_GetBuffer(bytes, &rows, PyBUF_SIMPLE) < 0) return NULL;
    PyObject *lists[2] = {PyList_New(0), PyList_New(0)};
    int done = lists[0] == NULL || lists[1] == NULL ? -1 : 0;
    while (done == 0 && PyDict_Next(changed, &at, &name, &ignored))
        done = PyBytes_Check(name) ? tell(layout, &rows, slots, name, kind, lists) : -1;
    PyBuffer_Release(&rows);
    PyObject *told = done == 0 ? PyTuple_Pack(2, lists[0], lists[1]) : NULL;
    Py_XDECREF(lists[0]);
    Py_XDECREF(lists[1]);
    if (told == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "users are known by bytes");
    return told;
}
