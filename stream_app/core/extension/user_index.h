/* Who is in which row, in the order of eviction: stream_app.core.user_index. */

#ifndef USER_INDEX_H
#define USER_INDEX_H

#include "passes.h"

#define NAME_BYTES 16
#define MOST_ROWS ((Py_ssize_t)INT32_MAX)

enum { NOBODY = -1, VACANT = -2 };

/* A row's user, between the rows before and behind in the order of eviction: NOBODY at its ends,
   and `older` is VACANT where the row has no user. */
typedef struct {
    uint8_t name[NAME_BYTES];
    int32_t older, newer;
} User;

/* Open addressing with linear probing. A slot is the hash of a name above its row + 1, so that a
   search reads one line of slots and one user; 0: free. Memory of a size to the power of two. */
typedef struct {
    uint64_t *slots;
    User *users; /* by row */
    Py_ssize_t slot_count, row_count, count;
    int32_t oldest, newest;
} UserIndex;

/* The row of a name, NOBODY where it has none. */
int32_t find_user(const UserIndex *index, const uint8_t *name);
int is_vacant(const UserIndex *index, Py_ssize_t row);
/* For a name that has no row, and a row below MOST_ROWS that is vacant: its user is the last one to
   be evicted. -1 where there is no memory. */
int put_user(UserIndex *index, const uint8_t *name, int32_t row);
void remove_user(UserIndex *index, int32_t row);
/* Make a user the last one to be evicted. */
void touch_user(UserIndex *index, int32_t row);
/* Take an order of eviction, oldest first. -1, and nothing is changed, where it does not hold the
   row of each user once; -2 where there is no memory. */
int arrange_users(UserIndex *index, const int64_t *rows, Py_ssize_t count);

/* For searches to come: have the processor fetch the slot; once that is there, learn the row, for
   the caller to fetch what lies by row; at last have it fetch the neighbours that `touch_user`
   writes to. A row that is learned so is likely and no more: users may come and go until then. */
uint32_t hash_of_name(const uint8_t *name);
void fetch_slot(const UserIndex *index, uint32_t hash);
int32_t likely_row(const UserIndex *index, uint32_t hash); /* has its user fetched, too */
void fetch_neighbours(const UserIndex *index, int32_t row);

/* Python's object for it; NULL with an exception where it is none. */
UserIndex *user_index_of(PyObject *object);
int add_user_index(PyObject *module);

#endif
