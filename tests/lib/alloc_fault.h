// Fails chosen allocations of the calling thread. Test programs are linked so that malloc, calloc,
// realloc and aligned_alloc pass through here (cmake/tests.cmake).
//
//   for (uint64_t n = 0; ; n++) {
//       alloc_fault_arm(n, 1);              // the allocation after n good ones fails
//       rc = the_body();
//       if (alloc_fault_disarm() == 0) {    // nothing failed: every place has been visited
//           break;
//       }
//       assert_int_equal(rc, STRATA_NO_MEMORY);
//   }
#ifndef TESTS_ALLOC_FAULT_H
#define TESTS_ALLOC_FAULT_H

#include <stdint.h>

// Lets `good` allocations of this thread through, then fails the next `failing` ones.
void alloc_fault_arm(uint64_t good, uint64_t failing);
// Lets everything through again; returns how many allocations failed since the arming.
uint64_t alloc_fault_disarm(void);
// The same number, with the plan left in force.
uint64_t alloc_fault_failed(void);
// Nothing fails or counts between the two; they nest. The tests' own allocations are in here.
void alloc_fault_pause(void);
void alloc_fault_resume(void);

#endif
