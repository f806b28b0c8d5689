// Epoch-based reclamation (K. Fraser, "Practical lock-freedom", 2004, section 5.2.3): readers
// announce that they are reading by a store into a slot of their own thread; what writers unlink is
// freed when every reader that could have seen it is gone. One domain per process.
//
// An epoch must be short: no device read, no lock, no user callback inside. Sections nest.
//
//   reader: os_epoch_enter(); p = atomic_load(acquire); ... use p ...; os_epoch_leave();
//   writer: unlink p; os_epoch_retire(&p->retired, free_p);
#ifndef OS_EPOCH_H
#define OS_EPOCH_H

#include <stdbool.h>
#include <stddef.h>

void os_epoch_enter(void);
void os_epoch_leave(void);

// Embedded in what is retired.
struct os_retired {
    struct os_retired *next;
    unsigned long long epoch;
    void (*free)(struct os_retired *self);
};

// Calls free(self) in some later os_epoch_ call of a writer, once no reader can hold it. Must not
// be called inside a section. Any thread.
void os_epoch_retire(struct os_retired *self, void (*free)(struct os_retired *self));

// Frees what can be freed now, but for what another thread is freeing. Not inside a section.
void os_epoch_collect(void);

// Waits until everything retired so far, by anybody, is freed. Not inside a section.
void os_epoch_drain(void);

#endif
