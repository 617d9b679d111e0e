/* Users' rows as the changelog holds them: UserTable.packed and UserTable.changed_users. */

#include "user_index.h"

enum { AHEAD = 8 };

/* A full ring begins with its oldest event, see StateCodec.pack. */
static void turn(const Layout *layout, const char *held, char *made) {
    Py_ssize_t length = layout->ring_length, entry = layout->entry_bytes, ring = layout->at[RING];
    Py_ssize_t oldest = (uint8_t)held[layout->at[NEXT]] % length;
    memcpy(made + ring, held + ring + oldest * entry, (size_t)((length - oldest) * entry));
    memcpy(made + ring + (length - oldest) * entry, held + ring, (size_t)(oldest * entry));
    made[layout->at[NEXT]] = 0;
}

/* The value of a user, cut behind the used part of the ring. */
static PyObject *value_of(const Layout *layout, const Py_buffer *rows, Py_ssize_t row) {
    if (row >= rows->len / layout->row_bytes)
        return PyErr_Format(PyExc_IndexError, "a user's row does not exist");
    const char *held = (const char *)rows->buf + row * layout->row_bytes;
    Py_ssize_t used = (uint8_t)held[layout->at[USED]];
    if (used > layout->ring_length) used = layout->ring_length;
    PyObject *value =
        PyBytes_FromStringAndSize(held, layout->at[RING] + used * layout->entry_bytes);
    if (value != NULL && used == layout->ring_length && held[layout->at[NEXT]])
        turn(layout, held, PyBytes_AS_STRING(value));
    return value;
}

/* The row of a user, NOBODY where they have none or an exception is set. */
static int32_t row_of(const UserIndex *index, PyObject *name) {
    if (PyBytes_Check(name) && PyBytes_GET_SIZE(name) == NAME_BYTES)
        return find_user(index, (const uint8_t *)PyBytes_AS_STRING(name));
    PyErr_SetString(PyExc_TypeError, "users are known by pseudonyms");
    return NOBODY;
}

/* packed(row bytes, layout, slots, pseudonyms) -> [bytes]. KeyError for somebody without a row. */
PyObject *packed(PyObject *module, PyObject *args) {
    PyObject *bytes, *capsule, *slots, *pseudonyms;
    Py_buffer rows;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOO!", &bytes, &capsule, &slots, &PyList_Type, &pseudonyms))
        return NULL;
    const Layout *layout = layout_of(capsule);
    const UserIndex *index = layout == NULL ? NULL : user_index_of(slots);
    if (index == NULL || PyObject_GetBuffer(bytes, &rows, PyBUF_SIMPLE) < 0) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(pseudonyms);
    PyObject *values = PyList_New(count);
    for (Py_ssize_t n = 0; values != NULL && n < count; n++) {
        PyObject *name = PyList_GET_ITEM(pseudonyms, n);
        int32_t row = row_of(index, name);
        PyObject *value = row == NOBODY ? NULL : value_of(layout, &rows, row);
        if (row == NOBODY && !PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, name);
        if (value == NULL)
            Py_CLEAR(values);
        else
            PyList_SET_ITEM(values, n, value);
    }
    PyBuffer_Release(&rows);
    return values;
}

static PyObject *key_of(char kind, PyObject *name) {
    PyObject *key = PyBytes_FromStringAndSize(NULL, 1 + NAME_BYTES);
    if (key == NULL) return NULL;
    PyBytes_AS_STRING(key)[0] = kind;
    memcpy(PyBytes_AS_STRING(key) + 1, PyBytes_AS_STRING(name), NAME_BYTES);
    return key;
}

/* A user who changed. */
typedef struct {
    PyObject *name; /* borrowed */
    int32_t row;
} Changed;

/* Put the record of a user behind the others of its list. */
static int tell(const Layout *layout, const Py_buffer *rows, Changed user, char kind,
                PyObject *lists[2]) {
    PyObject *key = key_of(kind, user.name), *value = NULL, *told = NULL;
    int is_there = user.row != NOBODY;
    if (!is_there)
        told = Py_XNewRef(key);
    else if (key != NULL && (value = value_of(layout, rows, user.row)) != NULL)
        told = PyTuple_Pack(2, key, value);
    int done = told == NULL ? -1 : PyList_Append(lists[is_there], told);
    Py_XDECREF(told);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return done;
}

static void fetch(const Layout *layout, const Py_buffer *rows, int32_t row) {
    if (row == NOBODY || row >= rows->len / layout->row_bytes) return;
    const char *held = (const char *)rows->buf + row * layout->row_bytes;
    for (Py_ssize_t at = 0; at < layout->row_bytes; at += 64) __builtin_prefetch(held + at);
}

/* Who is named in `changed`, in its order. NULL with an exception for what names nobody. */
static Changed *find_changed(const UserIndex *index, PyObject *changed) {
    PyObject *name, *ignored;
    Py_ssize_t at = 0, n = 0;
    Changed *users = PyMem_New(Changed, PyDict_GET_SIZE(changed) + 1);
    if (users == NULL) return (Changed *)PyErr_NoMemory();
    while (PyDict_Next(changed, &at, &name, &ignored)) {
        users[n++] = (Changed){name, NOBODY};
        if (PyBytes_Check(name) && PyBytes_GET_SIZE(name) == NAME_BYTES)
            fetch_slot(index, hash_of_name((const uint8_t *)PyBytes_AS_STRING(name)));
    }
    for (Py_ssize_t k = 0; k < n; k++) {
        users[k].row = row_of(index, users[k].name);
        if (users[k].row != NOBODY || !PyErr_Occurred()) continue;
        PyMem_Free(users);
        return NULL;
    }
    return users;
}

/* changes(row bytes, layout, slots, changed, kind) -> (keys of who is gone, (key, value) of the
   others), in the order of `changed` */
PyObject *changes(PyObject *module, PyObject *args) {
    PyObject *bytes, *capsule, *slots, *changed, *told = NULL;
    Py_buffer rows;
    char kind;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOO!c", &bytes, &capsule, &slots, &PyDict_Type, &changed, &kind))
        return NULL;
    const Layout *layout = layout_of(capsule);
    const UserIndex *index = layout == NULL ? NULL : user_index_of(slots);
    if (index == NULL || PyObject_GetBuffer(bytes, &rows, PyBUF_SIMPLE) < 0) return NULL;
    Py_ssize_t count = PyDict_GET_SIZE(changed);
    PyObject *lists[2] = {PyList_New(0), PyList_New(0)};
    Changed *users = find_changed(index, changed);
    int done = lists[0] == NULL || lists[1] == NULL || users == NULL ? -1 : 0;
    for (Py_ssize_t n = 0; done == 0 && n < count; n++) {
        if (n + AHEAD < count) fetch(layout, &rows, users[n + AHEAD].row);
        done = tell(layout, &rows, users[n], kind, lists);
    }
    if (done == 0) told = PyTuple_Pack(2, lists[0], lists[1]);
    PyMem_Free(users);
    PyBuffer_Release(&rows);
    Py_XDECREF(lists[0]);
    Py_XDECREF(lists[1]);
    return told;
}
