/* Pass 1: what the next clicks will touch is fetched while this one is dealt with. Of many users
   nothing is in a cache, and one line after the other the waiting would cost more than the work. */

#include "admission.h"

#define LINE_BYTES 64

/* How many records ahead each of them is done, for the next to find what it fetched. */
enum { MEET = AHEAD - 1, FETCH_ROW = 4, FETCH_NEIGHBOURS = 2 };

static Coming *coming_at(Ahead *ahead, Py_ssize_t number) { return ahead->at + number % AHEAD; }

static void meet(const Pass *pass, Coming *coming, Py_ssize_t number) {
    PyObject *click = PyList_GET_ITEM(pass->cleaned, number);
    Py_ssize_t bytes = 0;
    uint8_t digest[DIGEST_BYTES];
    const char *user = NULL;
    if (Py_TYPE(click) == pass->click) user = text_of(PyTuple_GET_ITEM(click, USER_ID), &bytes);
    *coming = (Coming){.is_click = user != NULL, .row = NOBODY};
    if (user == NULL) return;
    keyed_digest(pass->users, user, (size_t)bytes, digest);
    memcpy(coming->name, digest, sizeof coming->name);
    coming->hash = hash_of_name(coming->name);
    fetch_slot(pass->index, coming->hash);
}

static void fetch_row(const Pass *pass, Coming *coming) {
    if (!coming->is_click) return;
    Py_ssize_t row = coming->row = likely_row(pass->index, coming->hash);
    if (row == NOBODY || row >= pass->rows.len / pass->layout->row_bytes) return;
    const char *held = (const char *)pass->rows.buf + row * pass->layout->row_bytes;
    __builtin_prefetch((const int64_t *)pass->step_numbers.buf + row);
    __builtin_prefetch((const int64_t *)pass->timers.numbers.buf + row);
    /* All of it: the later passes find it nearer, too. */
    for (Py_ssize_t at = 0; at < pass->layout->row_bytes; at += LINE_BYTES)
        __builtin_prefetch(held + at);
    __builtin_prefetch(held + pass->layout->row_bytes - 1);
}

const Coming *look_ahead(const Pass *pass, Ahead *ahead, Py_ssize_t number) {
    Py_ssize_t left = PyList_GET_SIZE(pass->cleaned) - number;
    Py_ssize_t end = number + (left <= MEET ? left : MEET + 1);
    for (; ahead->end < end; ahead->end++) meet(pass, coming_at(ahead, ahead->end), ahead->end);
    if (FETCH_ROW < left) fetch_row(pass, coming_at(ahead, number + FETCH_ROW));
    if (FETCH_NEIGHBOURS < left)
        fetch_neighbours(pass->index, coming_at(ahead, number + FETCH_NEIGHBOURS)->row);
    return coming_at(ahead, number);
}
