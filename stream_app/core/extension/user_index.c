/* The users of a table: see user_index.h. */

#include "user_index.h"

#include "../native/splitmix.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#define FIRST_SLOTS 512 /* no more than half of them are taken */
#define FIRST_ROWS 256
#define PAGE_BYTES ((uintptr_t)4096)
#define HUGE_BYTES ((size_t)1 << 21)

/* Zeros. Random access to so many small pages would mostly wait for where they are. */
static void *new_memory(size_t bytes) {
    char *made = PyMem_RawCalloc(1, bytes);
#ifdef __linux__
    if (made != NULL && bytes >= 2 * HUGE_BYTES) {
        size_t skipped = (size_t)(-(uintptr_t)made & (PAGE_BYTES - 1));
        (void)madvise(made + skipped, (bytes - skipped) & ~(PAGE_BYTES - 1), MADV_HUGEPAGE);
    }
#endif
    return made;
}

uint32_t hash_of_name(const uint8_t *name) {
    uint64_t low = u64_at((const char *)name), high = u64_at((const char *)name + 8);
    return (uint32_t)mix(low ^ mix(high));
}

static inline Py_ssize_t behind(const UserIndex *index, Py_ssize_t slot) {
    return (slot + 1) & (index->slot_count - 1);
}

static inline Py_ssize_t home_of(const UserIndex *index, uint32_t hash) {
    return (Py_ssize_t)hash & (index->slot_count - 1);
}

static inline int32_t row_in(uint64_t slot) { return (int32_t)(uint32_t)slot - 1; }

/* The slot of a name, -1 where it has none. */
static Py_ssize_t slot_of(const UserIndex *index, const uint8_t *name) {
    uint32_t hash = hash_of_name(name);
    if (index->count == 0) return -1;
    for (Py_ssize_t at = home_of(index, hash); index->slots[at]; at = behind(index, at)) {
        uint64_t slot = index->slots[at];
        if (slot >> 32 == hash && memcmp(index->users[row_in(slot)].name, name, NAME_BYTES) == 0)
            return at;
    }
    return -1;
}

int32_t find_user(const UserIndex *index, const uint8_t *name) {
    Py_ssize_t slot = slot_of(index, name);
    return slot < 0 ? NOBODY : row_in(index->slots[slot]);
}

int is_vacant(const UserIndex *index, Py_ssize_t row) {
    return row < 0 || row >= index->row_count || index->users[row].older == VACANT;
}

/* --- room */

static void take_slot(UserIndex *index, uint64_t slot) {
    Py_ssize_t at = home_of(index, (uint32_t)(slot >> 32));
    while (index->slots[at]) at = behind(index, at);
    index->slots[at] = slot;
}

static int grow_slots(UserIndex *index) {
    uint64_t *old = index->slots;
    Py_ssize_t count = index->slot_count;
    uint64_t *made = new_memory((size_t)(count ? 2 * count : FIRST_SLOTS) * sizeof *made);
    if (made == NULL) return -1;
    index->slots = made, index->slot_count = count ? 2 * count : FIRST_SLOTS;
    for (Py_ssize_t n = 0; n < count; n++)
        if (old[n]) take_slot(index, old[n]);
    PyMem_RawFree(old);
    return 0;
}

static int grow_rows(UserIndex *index, Py_ssize_t least) {
    Py_ssize_t count = index->row_count ? index->row_count : FIRST_ROWS;
    while (count < least) count *= 2;
    User *made = new_memory((size_t)count * sizeof *made);
    if (made == NULL) return -1;
    if (index->row_count) memcpy(made, index->users, (size_t)index->row_count * sizeof *made);
    for (Py_ssize_t row = index->row_count; row < count; row++) made[row].older = VACANT;
    PyMem_RawFree(index->users);
    index->users = made, index->row_count = count;
    return 0;
}

/* --- the order of eviction */

static void put_last(UserIndex *index, int32_t row) {
    index->users[row].older = index->newest, index->users[row].newer = NOBODY;
    *(index->newest == NOBODY ? &index->oldest : &index->users[index->newest].newer) = row;
    index->newest = row;
}

static void take_out(UserIndex *index, int32_t row) {
    int32_t older = index->users[row].older, newer = index->users[row].newer;
    *(older == NOBODY ? &index->oldest : &index->users[older].newer) = newer;
    *(newer == NOBODY ? &index->newest : &index->users[newer].older) = older;
}

void touch_user(UserIndex *index, int32_t row) {
    if (index->newest == row) return;
    take_out(index, row);
    put_last(index, row);
}

int arrange_users(UserIndex *index, const int64_t *rows, Py_ssize_t count) {
    if (count != index->count) return -1;
    uint8_t *is_met = PyMem_RawCalloc(1, (size_t)index->row_count + 1);
    if (is_met == NULL) return -2;
    int fits = 1;
    for (Py_ssize_t n = 0; n < count && fits; n++) {
        fits = !is_vacant(index, rows[n]) && !is_met[rows[n]];
        if (fits) is_met[rows[n]] = 1;
    }
    PyMem_RawFree(is_met);
    if (!fits) return -1;
    index->oldest = index->newest = NOBODY;
    for (Py_ssize_t n = 0; n < count; n++) put_last(index, (int32_t)rows[n]);
    return 0;
}

/* --- users who come and go */

int put_user(UserIndex *index, const uint8_t *name, int32_t row) {
    if (2 * (index->count + 1) > index->slot_count && grow_slots(index) < 0) return -1;
    if (row >= index->row_count && grow_rows(index, (Py_ssize_t)row + 1) < 0) return -1;
    memcpy(index->users[row].name, name, NAME_BYTES);
    take_slot(index, (uint64_t)hash_of_name(name) << 32 | ((uint32_t)row + 1));
    put_last(index, row);
    index->count++;
    return 0;
}

void remove_user(UserIndex *index, int32_t row) {
    Py_ssize_t free = slot_of(index, index->users[row].name), mask = index->slot_count - 1;
    /* Who was displaced moves up, or no search would come to them over the gap. */
    for (Py_ssize_t at = behind(index, free); index->slots[at]; at = behind(index, at)) {
        Py_ssize_t home = home_of(index, (uint32_t)(index->slots[at] >> 32));
        if (((at - home) & mask) < ((at - free) & mask)) continue;
        index->slots[free] = index->slots[at];
        free = at;
    }
    index->slots[free] = 0;
    take_out(index, row);
    index->users[row].older = VACANT;
    index->count--;
}

/* --- ahead of a search */

void fetch_slot(const UserIndex *index, uint32_t hash) {
    if (index->slot_count) __builtin_prefetch(index->slots + home_of(index, hash));
}

int32_t likely_row(const UserIndex *index, uint32_t hash) {
    if (index->slot_count == 0) return NOBODY;
    for (Py_ssize_t at = home_of(index, hash); index->slots[at]; at = behind(index, at)) {
        if (index->slots[at] >> 32 != hash) continue;
        __builtin_prefetch(index->users + row_in(index->slots[at]));
        return row_in(index->slots[at]);
    }
    return NOBODY;
}

void fetch_neighbours(const UserIndex *index, int32_t row) {
    if (is_vacant(index, row)) return;
    const User *user = index->users + row;
    if (user->older >= 0) __builtin_prefetch(index->users + user->older);
    if (user->newer >= 0) __builtin_prefetch(index->users + user->newer);
}
