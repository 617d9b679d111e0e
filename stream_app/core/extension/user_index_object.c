/* UserIndex as an object of Python: the same methods as stream_app.core.user_index.PlainUserIndex. */

#include "user_index.h"

typedef struct {
    PyObject_HEAD
    UserIndex index;
} Object;

static PyTypeObject *type;

UserIndex *user_index_of(PyObject *object) {
    if (PyObject_TypeCheck(object, type)) return &((Object *)object)->index;
    return PyErr_Format(PyExc_TypeError, "no UserIndex"), NULL;
}

static inline UserIndex *of(PyObject *self) { return &((Object *)self)->index; }

static PyObject *new_index(PyTypeObject *made_of, PyObject *args, PyObject *named) {
    if (PyTuple_GET_SIZE(args) || (named != NULL && PyDict_GET_SIZE(named)))
        return PyErr_Format(PyExc_TypeError, "UserIndex() takes no arguments");
    PyObject *self = made_of->tp_alloc(made_of, 0);
    if (self != NULL) of(self)->oldest = of(self)->newest = NOBODY;
    return self;
}

static void release(PyObject *self) {
    PyTypeObject *made_of = Py_TYPE(self);
    PyMem_RawFree(of(self)->slots);
    PyMem_RawFree(of(self)->users);
    made_of->tp_free(self);
    Py_DECREF(made_of);
}

/* The row of a name, NOBODY for what can be none. */
static int32_t find(PyObject *self, PyObject *name) {
    if (!PyBytes_Check(name) || PyBytes_GET_SIZE(name) != NAME_BYTES) return NOBODY;
    return find_user(of(self), (const uint8_t *)PyBytes_AS_STRING(name));
}

/* The row of a name, NOBODY with an exception where it has none. */
static int32_t need(PyObject *self, PyObject *name) {
    int32_t row = find(self, name);
    if (row == NOBODY) PyErr_SetObject(PyExc_KeyError, name);
    return row;
}

static PyObject *name_in(const UserIndex *index, Py_ssize_t row) {
    return PyBytes_FromStringAndSize((const char *)index->users[row].name, NAME_BYTES);
}

static Py_ssize_t count(PyObject *self) { return of(self)->count; }

static int contains(PyObject *self, PyObject *name) { return find(self, name) != NOBODY; }

static PyObject *item(PyObject *self, PyObject *name) {
    int32_t row = need(self, name);
    return row == NOBODY ? NULL : PyLong_FromLong(row);
}

static PyObject *get(PyObject *self, PyObject *name) {
    int32_t row = find(self, name);
    return row == NOBODY ? Py_NewRef(Py_None) : PyLong_FromLong(row);
}

static PyObject *put(PyObject *self, PyObject *args) {
    PyObject *name;
    Py_ssize_t row;
    if (!PyArg_ParseTuple(args, "Sn", &name, &row)) return NULL;
    if (PyBytes_GET_SIZE(name) != NAME_BYTES)
        return PyErr_Format(PyExc_ValueError, "a pseudonym has %d bytes", NAME_BYTES);
    if (row < 0 || row >= MOST_ROWS)
        return PyErr_Format(PyExc_ValueError, "there is no row %zd", row);
    if (find(self, name) != NOBODY || !is_vacant(of(self), row))
        return PyErr_Format(PyExc_ValueError, "the user or row %zd is there already", row);
    if (put_user(of(self), (const uint8_t *)PyBytes_AS_STRING(name), (int32_t)row) < 0)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *pop_name(PyObject *self, PyObject *name) {
    int32_t row = need(self, name);
    if (row == NOBODY) return NULL;
    remove_user(of(self), row);
    return PyLong_FromLong(row);
}

static PyObject *touch(PyObject *self, PyObject *name) {
    int32_t row = need(self, name);
    if (row == NOBODY) return NULL;
    touch_user(of(self), row);
    Py_RETURN_NONE;
}

static PyObject *name_of(PyObject *self, PyObject *number) {
    Py_ssize_t row = PyLong_AsSsize_t(number);
    if (row == -1 && PyErr_Occurred()) return NULL;
    if (!is_vacant(of(self), row)) return name_in(of(self), row);
    PyErr_SetObject(PyExc_KeyError, number);
    return NULL;
}

static PyObject *oldest(PyObject *self, PyObject *none) {
    (void)none;
    if (of(self)->count) return name_in(of(self), of(self)->oldest);
    return PyErr_Format(PyExc_KeyError, "there are no users");
}

static PyObject *names(PyObject *self, PyObject *args) {
    Py_ssize_t first, end;
    if (!PyArg_ParseTuple(args, "nn", &first, &end)) return NULL;
    PyObject *found = PyList_New(0);
    if (first < 0) first = 0;
    if (end > of(self)->row_count) end = of(self)->row_count;
    for (Py_ssize_t row = first; found != NULL && row < end; row++) {
        if (is_vacant(of(self), row)) continue;
        PyObject *name = name_in(of(self), row);
        if (name == NULL || PyList_Append(found, name) < 0) Py_CLEAR(found);
        Py_XDECREF(name);
    }
    return found;
}

static PyObject *rows(PyObject *self, PyObject *none) {
    const UserIndex *index = of(self);
    PyObject *found = PyBytes_FromStringAndSize(NULL, index->count * (Py_ssize_t)sizeof(int64_t));
    (void)none;
    if (found == NULL) return NULL;
    int64_t *at = (int64_t *)PyBytes_AS_STRING(found);
    for (int32_t row = index->oldest; row != NOBODY; row = index->users[row].newer) *at++ = row;
    return found;
}

static PyObject *arrange(PyObject *self, PyObject *array) {
    Py_buffer given;
    if (PyObject_GetBuffer(array, &given, PyBUF_C_CONTIGUOUS) < 0) return NULL;
    int done = -1;
    if (given.itemsize == sizeof(int64_t))
        done = arrange_users(of(self), given.buf, given.len / (Py_ssize_t)sizeof(int64_t));
    PyBuffer_Release(&given);
    if (done == -2) return PyErr_NoMemory();
    if (done < 0) return PyErr_Format(PyExc_ValueError, "an order has each user's row once");
    Py_RETURN_NONE;
}

static PyObject *iterate(PyObject *self) {
    const UserIndex *index = of(self);
    PyObject *found = PyList_New(index->count), *walk = NULL;
    Py_ssize_t n = 0;
    for (int32_t row = index->oldest; found != NULL && row != NOBODY; row = index->users[row].newer) {
        PyObject *name = name_in(index, row);
        if (name == NULL)
            Py_CLEAR(found);
        else
            PyList_SET_ITEM(found, n++, name);
    }
    if (found != NULL) walk = PyObject_GetIter(found);
    Py_XDECREF(found);
    return walk;
}

static PyMethodDef METHODS[] = {
    {"get", get, METH_O, NULL},         {"put", put, METH_VARARGS, NULL},
    {"pop", pop_name, METH_O, NULL},    {"touch", touch, METH_O, NULL},
    {"name_of", name_of, METH_O, NULL}, {"oldest", oldest, METH_NOARGS, NULL},
    {"names", names, METH_VARARGS, NULL}, {"rows", rows, METH_NOARGS, NULL},
    {"arrange", arrange, METH_O, NULL}, {NULL, NULL, 0, NULL},
};

static PyType_Slot SLOTS[] = {
    {Py_tp_new, new_index},       {Py_tp_dealloc, release},
    {Py_tp_methods, METHODS},     {Py_tp_iter, iterate},
    {Py_mp_length, count},        {Py_mp_subscript, item},
    {Py_sq_contains, contains},   {0, NULL},
};

int add_user_index(PyObject *module) {
    static PyType_Spec spec = {
        .name = "stream_app.core.extension.passes.UserIndex",
        .basicsize = sizeof(Object),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = SLOTS,
    };
    if (type == NULL) type = (PyTypeObject *)PyType_FromSpec(&spec);
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "UserIndex", (PyObject *)type);
}
