// Epoch-based reclamation: the domain of the process.
//
// A counter `now` only grows. A reader announces the value it read from `now` in the slot of its
// thread, and 0 when it is not reading. An object is stamped, after it was unlinked, with the value
// of `now`, which that same step makes one greater. It is freed when every slot is 0 or greater
// than the stamp.
//
// Why a reader never sees freed memory. Let an object have stamp t; let R be a section, and C the
// scan of the slots after which the object was freed.
//   1. R announced more than t. Then R's load of `now` (acquire) read what the stamping (release)
//      or a later one wrote, so the unlinking happened before everything that R reads: R cannot
//      find the object.
//   2. R announced t or less, and C read that announcement: C does not free the object.
//   3. R announced t or less, and C read an older value of R's slot: C came too early to see R.
//         R: store slot; FENCE; load pointer.      C: (unlinking, before); FENCE; load slot.
//      Both fences are sequentially consistent, so one is first. Were R's first, C would have read
//      R's announcement. So C's is first, and R's loads see the unlinking: R cannot find the
//      object.
//   4. R announced t or less, and C read what R's leaving stored (release) or what that thread
//      stored after it: C's load is an acquire, so R's last read was before the object is freed.
//
// Thread rule: slots are written by their thread alone; `now` and all else under the mutex. A
// thread takes its record at its first section and gives it back when it ends. Records are static:
// entering cannot fail. Threads beyond RECORDS_MAX share one, under the mutex: slow, but right.
#include "os/epoch.h"

#include "base/assert.h"
#include "os/thread.h"

#include <stdatomic.h>
#include <time.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EPOCH_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define EPOCH_TSAN 1
#endif

#define RECORDS_MAX 1024
// Objects that may wait before retire looks for what can be freed.
#define RETIRES_PER_COLLECT 32

// Two cache lines: a processor that fetches lines in pairs must not take the neighbour's.
struct epoch_record {
    _Alignas(128) _Atomic uint64_t slot; // the epoch that its thread announced, or 0
    bool taken;                          // under the mutex
};

// Allocated with the thread ("initial-exec"), so that reaching it is one instruction.
struct epoch_thread {
    struct epoch_record *record; // NULL: none yet, or given back
    unsigned depth;              // of nested sections
    bool freeing;                // inside a free function
};
static _Thread_local struct epoch_thread epoch_self __attribute__((tls_model("initial-exec")));

// Alone in its lines: readers read it all the time, and the mutex beside it would be in their way.
static _Alignas(128) _Atomic uint64_t epoch_now = 1;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t pass_over;
    struct os_retired *first; // in the order of their stamps
    struct os_retired *last;
    unsigned waiting;    // objects in the list
    bool collecting;     // one thread at a time frees
    unsigned record_end; // records at or after it were never taken
    unsigned shared_readers;
    struct epoch_record records[RECORDS_MAX];
    struct epoch_record shared; // of all threads that found no record
} epoch_domain = {.lock = PTHREAD_MUTEX_INITIALIZER, .pass_over = PTHREAD_COND_INITIALIZER};

static pthread_once_t epoch_once = PTHREAD_ONCE_INIT;
static pthread_key_t epoch_key;
static bool epoch_has_key;

// ---- announcing

// An announcement that is followed by a full fence.
static inline void epoch_announce(_Atomic uint64_t *slot, uint64_t epoch)
{
#if defined(__x86_64__) || defined(EPOCH_TSAN)
    // A locked instruction is a full fence on x86, and cheaper than a store and a fence. (The
    // sanitizer does not know fences. It needs none: cases 1 and 4 are acquire and release, and in
    // case 3 the reader does not touch the object.)
    atomic_exchange_explicit(slot, epoch, memory_order_seq_cst);
#else
    atomic_store_explicit(slot, epoch, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

static void epoch_writer_fence(void)
{
#if defined(EPOCH_TSAN)
    static atomic_int fence;
    atomic_fetch_add_explicit(&fence, 1, memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

// ---- threads and their records

static void epoch_thread_ends(void *record)
{
    struct epoch_record *mine = record;
    ASSERT(epoch_self.depth == 0);
    pthread_mutex_lock(&epoch_domain.lock);
    atomic_store_explicit(&mine->slot, 0, memory_order_release); // pairs with epoch_least_announced
    mine->taken = false;
    epoch_self.record = NULL;
    pthread_mutex_unlock(&epoch_domain.lock);
}

static void epoch_before_fork(void)
{
    pthread_mutex_lock(&epoch_domain.lock);
}

static void epoch_after_fork(void)
{
    pthread_mutex_unlock(&epoch_domain.lock);
}

// The child has this thread only: the others' sections will never end there.
static void epoch_in_child(void)
{
    for (unsigned i = 0; i < epoch_domain.record_end; i++) {
        struct epoch_record *r = &epoch_domain.records[i];
        if (r != epoch_self.record) {
            atomic_store_explicit(&r->slot, 0, memory_order_relaxed);
            r->taken = false;
        }
    }
    if (epoch_self.record != &epoch_domain.shared) {
        atomic_store_explicit(&epoch_domain.shared.slot, 0, memory_order_relaxed);
    }
    epoch_domain.shared_readers =
        epoch_self.record == &epoch_domain.shared && epoch_self.depth > 0 ? 1 : 0;
    epoch_domain.collecting = epoch_self.freeing;
    pthread_cond_init(&epoch_domain.pass_over, NULL);
    pthread_mutex_unlock(&epoch_domain.lock);
}

static void epoch_init(void)
{
    epoch_has_key = pthread_key_create(&epoch_key, epoch_thread_ends) == 0;
    pthread_atfork(epoch_before_fork, epoch_after_fork, epoch_in_child);
}

static void epoch_take_record(void)
{
    pthread_once(&epoch_once, epoch_init);
    struct epoch_record *mine = &epoch_domain.shared;
    pthread_mutex_lock(&epoch_domain.lock);
    for (unsigned i = 0; epoch_has_key && i < RECORDS_MAX; i++) {
        if (!epoch_domain.records[i].taken) {
            mine = &epoch_domain.records[i];
            mine->taken = true;
            epoch_domain.record_end =
                i >= epoch_domain.record_end ? i + 1 : epoch_domain.record_end;
            break;
        }
    }
    pthread_mutex_unlock(&epoch_domain.lock);
    if (mine != &epoch_domain.shared && pthread_setspecific(epoch_key, mine) != 0) {
        // Nobody would give the record back: go without one.
        pthread_mutex_lock(&epoch_domain.lock);
        mine->taken = false;
        pthread_mutex_unlock(&epoch_domain.lock);
        mine = &epoch_domain.shared;
    }
    epoch_self.record = mine;
}

// ---- sections

static __attribute__((noinline)) void epoch_enter_slowly(void)
{
    if (epoch_self.record == NULL) {
        epoch_take_record();
    }
    if (epoch_self.record != &epoch_domain.shared) {
        uint64_t now = atomic_load_explicit(&epoch_now, memory_order_acquire);
        epoch_announce(&epoch_self.record->slot, now);
        return;
    }
    // The first reader's announcement is the least, so it does for all of them.
    pthread_mutex_lock(&epoch_domain.lock);
    if (epoch_domain.shared_readers++ == 0) {
        epoch_announce(&epoch_domain.shared.slot,
                       atomic_load_explicit(&epoch_now, memory_order_acquire));
    }
    pthread_mutex_unlock(&epoch_domain.lock);
}

static __attribute__((noinline)) void epoch_leave_shared(void)
{
    pthread_mutex_lock(&epoch_domain.lock);
    ASSERT(epoch_domain.shared_readers > 0);
    if (--epoch_domain.shared_readers == 0) {
        atomic_store_explicit(&epoch_domain.shared.slot, 0, memory_order_release);
    }
    pthread_mutex_unlock(&epoch_domain.lock);
}

void os_epoch_enter(void)
{
    if (epoch_self.depth++ > 0) {
        return;
    }
    struct epoch_record *mine = epoch_self.record;
    if (__builtin_expect(mine == NULL || mine == &epoch_domain.shared, 0)) {
        epoch_enter_slowly();
        return;
    }
    // Acquire pairs with the stamping in os_epoch_retire (case 1).
    epoch_announce(&mine->slot, atomic_load_explicit(&epoch_now, memory_order_acquire));
}

void os_epoch_leave(void)
{
    ASSERT(epoch_self.depth > 0);
    if (--epoch_self.depth > 0) {
        return;
    }
    struct epoch_record *mine = epoch_self.record;
    if (__builtin_expect(mine == &epoch_domain.shared, 0)) {
        epoch_leave_shared();
        return;
    }
    // Pairs with the acquire load in epoch_least_announced (case 4).
    atomic_store_explicit(&mine->slot, 0, memory_order_release);
}

// ---- freeing

// With the mutex held: the least epoch that a reader announced, UINT64_MAX when nobody reads.
static uint64_t epoch_least_announced(void)
{
    epoch_writer_fence();
    uint64_t least = atomic_load_explicit(&epoch_domain.shared.slot, memory_order_acquire);
    least = least == 0 ? UINT64_MAX : least;
    for (unsigned i = 0; i < epoch_domain.record_end; i++) {
        // Pairs with the release stores of leaving, and with the announcements.
        uint64_t slot = atomic_load_explicit(&epoch_domain.records[i].slot, memory_order_acquire);
        if (slot != 0 && slot < least) {
            least = slot;
        }
    }
    return least;
}

// With the mutex held, which is let go while objects are freed, and nobody collecting.
static void epoch_free_locked(void)
{
    ASSERT(!epoch_domain.collecting);
    uint64_t least = epoch_least_announced();
    struct os_retired *list = epoch_domain.first;
    struct os_retired **end = &epoch_domain.first;
    while (*end != NULL && (*end)->epoch < least) {
        epoch_domain.waiting--;
        end = &(*end)->next;
    }
    struct os_retired *rest = *end;
    if (rest == list) {
        return;
    }
    *end = NULL;
    epoch_domain.first = rest;
    epoch_domain.last = rest == NULL ? NULL : epoch_domain.last;
    epoch_domain.collecting = true;
    pthread_mutex_unlock(&epoch_domain.lock);
    epoch_self.freeing = true;
    while (list != NULL) {
        struct os_retired *next = list->next;
        list->free(list);
        list = next;
    }
    epoch_self.freeing = false;
    pthread_mutex_lock(&epoch_domain.lock);
    epoch_domain.collecting = false;
    pthread_cond_broadcast(&epoch_domain.pass_over);
}

void os_epoch_retire(struct os_retired *self, void (*free)(struct os_retired *self))
{
    ASSERT(free != NULL);
    ASSERT(epoch_self.depth == 0);
    pthread_once(&epoch_once, epoch_init);
    self->next = NULL;
    self->free = free;
    pthread_mutex_lock(&epoch_domain.lock);
    if (epoch_domain.waiting >= RETIRES_PER_COLLECT && !epoch_domain.collecting) {
        epoch_free_locked();
    }
    // Release pairs with the acquire load of the readers (case 1). Stamped and appended without
    // letting the mutex go: the list stays in the order of the stamps.
    self->epoch = atomic_fetch_add_explicit(&epoch_now, 1, memory_order_seq_cst);
    if (epoch_domain.last == NULL) {
        epoch_domain.first = self;
    } else {
        epoch_domain.last->next = self;
    }
    epoch_domain.last = self;
    epoch_domain.waiting++;
    pthread_mutex_unlock(&epoch_domain.lock);
}

void os_epoch_collect(void)
{
    ASSERT(epoch_self.depth == 0);
    pthread_mutex_lock(&epoch_domain.lock);
    if (!epoch_domain.collecting) {
        epoch_free_locked();
    }
    pthread_mutex_unlock(&epoch_domain.lock);
}

void os_epoch_drain(void)
{
    ASSERT(epoch_self.depth == 0 && !epoch_self.freeing);
    if (epoch_self.depth > 0 || epoch_self.freeing) {
        return; // would wait for itself
    }
    pthread_mutex_lock(&epoch_domain.lock);
    uint64_t target = atomic_load_explicit(&epoch_now, memory_order_relaxed);
    long pause_ns = 1000;
    for (;;) {
        while (epoch_domain.collecting) {
            pthread_cond_wait(&epoch_domain.pass_over, &epoch_domain.lock);
        }
        if (epoch_domain.first == NULL || epoch_domain.first->epoch >= target) {
            break;
        }
        epoch_free_locked();
        if (epoch_domain.first != NULL && epoch_domain.first->epoch < target &&
            !epoch_domain.collecting) {
            // A reader is in its way, which leaves soon and tells nobody.
            pthread_mutex_unlock(&epoch_domain.lock);
            nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
            pause_ns = pause_ns < 1000000 ? 2 * pause_ns : pause_ns;
            pthread_mutex_lock(&epoch_domain.lock);
        }
    }
    pthread_mutex_unlock(&epoch_domain.lock);
}
