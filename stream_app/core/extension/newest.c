/* Users' newest events: stream_app.core.newest where nothing came late. */

#include "passes.h"

#define CLICK_EVENT_ID 1
#define EVENT_ID_BYTES 36

/* An event id that fits a row, NULL where it does not; an event may have none. */
static const char *short_id(PyObject *click, Py_ssize_t *bytes) {
    PyObject *id = PyTuple_GET_ITEM(click, CLICK_EVENT_ID);
    *bytes = 0;
    if (id == Py_None) return "";
    const char *text = PyUnicode_Check(id) ? PyUnicode_AsUTF8AndSize(id, bytes) : NULL;
    if (text == NULL) PyErr_Clear();
    if (text == NULL || *bytes > EVENT_ID_BYTES || memchr(text, 0, (size_t)*bytes)) return NULL;
    return text;
}

/* keep_newest(row bytes, layout, table, clicks) -> whether it was done: nothing was where an id
   does not fit a row. */
PyObject *keep_newest(PyObject *module, PyObject *args) {
    PyObject *bytes, *capsule, *table, *clicks;
    Py_buffer rows;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!O!", &bytes, &capsule, &PyByteArray_Type, &table,
                          &PyList_Type, &clicks))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(clicks);
    const Layout *layout = layout_of(capsule);
    const Step *steps = (const Step *)PyByteArray_AS_STRING(table);
    if (layout == NULL) return NULL;
    if (PyByteArray_GET_SIZE(table) != count * (Py_ssize_t)sizeof *steps)
        return PyErr_Format(PyExc_ValueError, "a click for each step is needed");
    for (Py_ssize_t n = 0; n < count; n++)
        if (short_id(PyList_GET_ITEM(clicks, n), &size) == NULL) Py_RETURN_FALSE;
    if (PyObject_GetBuffer(bytes, &rows, PyBUF_WRITABLE) < 0) return NULL;
    for (Py_ssize_t n = 0; n < count; n++) {
        if (steps[n].row < 0 || steps[n].row >= rows.len / layout->row_bytes) {
            PyBuffer_Release(&rows);
            return PyErr_Format(PyExc_IndexError, "a step's row does not exist");
        }
        char *row = (char *)rows.buf + steps[n].row * layout->row_bytes;
        const char *id = short_id(PyList_GET_ITEM(clicks, n), &size);
        PUT(row + layout->at[NEWEST_OFFSET], int64_t, steps[n].offset);
        PUT(row + layout->at[REVISION], uint16_t, 0);
        memset(row + layout->at[NEWEST_ID], 0, EVENT_ID_BYTES);
        memcpy(row + layout->at[NEWEST_ID], id, (size_t)size);
    }
    PyBuffer_Release(&rows);
    Py_RETURN_TRUE;
}
