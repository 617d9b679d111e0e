/* UserTable.packed: users' rows as the changelog holds them. */

#include "passes.h"

/* A full ring begins with its oldest event, see StateCodec.pack. */
static void turn(const Layout *layout, const char *held, char *made) {
    Py_ssize_t length = layout->ring_length, entry = layout->entry_bytes, ring = layout->at[RING];
    Py_ssize_t oldest = (uint8_t)held[layout->at[NEXT]] % length;
    memcpy(made + ring, held + ring + oldest * entry, (size_t)((length - oldest) * entry));
    memcpy(made + ring + (length - oldest) * entry, held + ring, (size_t)(oldest * entry));
    made[layout->at[NEXT]] = 0;
}

/* packed(row bytes, layout, slots, pseudonyms) -> [bytes]; each row is cut behind the used part of
   its ring. KeyError for somebody without a row. */
PyObject *packed(PyObject *module, PyObject *args) {
    PyObject *bytes, *capsule, *slots, *pseudonyms;
    Py_buffer rows;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!O!", &bytes, &capsule, &PyDict_Type, &slots, &PyList_Type,
                          &pseudonyms))
        return NULL;
    const Layout *layout = layout_of(capsule);
    if (layout == NULL || PyObject_GetBuffer(bytes, &rows, PyBUF_SIMPLE) < 0) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(pseudonyms), end = rows.len / layout->row_bytes;
    PyObject *values = PyList_New(count);
    for (Py_ssize_t n = 0; values != NULL && n < count; n++) {
        PyObject *name = PyList_GET_ITEM(pseudonyms, n);
        PyObject *place = PyDict_GetItemWithError(slots, name);
        Py_ssize_t row = place == NULL ? -1 : PyLong_AsSsize_t(place);
        PyObject *value = NULL;
        if (row >= 0 && row < end) {
            const char *held = (const char *)rows.buf + row * layout->row_bytes;
            Py_ssize_t used = (uint8_t)held[layout->at[USED]];
            if (used > layout->ring_length) used = layout->ring_length;
            value = PyBytes_FromStringAndSize(held,
                                              layout->at[RING] + used * layout->entry_bytes);
            if (value != NULL && used == layout->ring_length && held[layout->at[NEXT]])
                turn(layout, held, PyBytes_AS_STRING(value));
        } else if (!PyErr_Occurred()) {
            PyErr_SetObject(PyExc_KeyError, name);
        }
        if (value == NULL)
            Py_CLEAR(values);
        else
            PyList_SET_ITEM(values, n, value);
    }
    PyBuffer_Release(&rows);
    return values;
}
