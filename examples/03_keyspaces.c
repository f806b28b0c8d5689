// Keyspaces and batches: an order and its index change together, or not at all.
//
//   03_keyspaces [DIRECTORY]     the database; default: "shop.db" here
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <strata.h>

static void must(strata_rc rc)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", strata_rc_name(rc), strata_error_text());
        exit(1);
    }
}

static void check(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "unexpected: %s\n", what);
        exit(1);
    }
}

struct shop {
    strata_db *db;
    strata_keyspace *orders;      // order -> customer
    strata_keyspace *by_customer; // customer/order -> ""
};

// One commit across both keyspaces: no reader ever sees an order without its index entry.
static uint64_t add_orders(struct shop *shop, const char *const (*orders)[2], int count)
{
    strata_batch *batch;
    uint64_t commit;
    must(strata_batch_new(shop->db, &batch));
    for (int i = 0; i < count; i++) {
        char index_key[64];
        snprintf(index_key, sizeof index_key, "%s/%s", orders[i][1], orders[i][0]);
        must(strata_batch_put(batch, shop->orders, strata_str(orders[i][0]),
                              strata_str(orders[i][1])));
        must(strata_batch_put(batch, shop->by_customer, strata_str(index_key), strata_str("")));
    }
    must(strata_commit(shop->db, NULL, batch, &commit));
    strata_batch_free(batch);
    return commit;
}

// Prints the orders of a customer, from the index, as of a commit; returns how many.
static int print_orders(struct shop *shop, const char *customer, uint64_t commit)
{
    char lower[64];
    char upper[64];
    snprintf(lower, sizeof lower, "%s/", customer);
    snprintf(upper, sizeof upper, "%s0", customer); // '0' follows '/'
    strata_read how = STRATA_READ_INIT;
    how.keyspace = shop->by_customer;
    how.as_of = commit;
    how.lower = strata_str(lower);
    how.upper = strata_str(upper);
    strata_iter *iter;
    must(strata_iter_open(shop->db, &how, &iter));
    int count = 0;
    strata_rc rc = strata_iter_first(iter);
    for (; rc == STRATA_OK; rc = strata_iter_next(iter)) {
        strata_slice key = strata_iter_key(iter);
        printf("%.*s\n", (int)key.bytes, (const char *)key.data);
        count++;
    }
    must(rc);
    strata_iter_close(iter);
    return count;
}

// Ends all orders of a customer: the index by a range, in constant time.
static void remove_customer(struct shop *shop, const char *customer, const char *const *orders,
                            int count)
{
    char lower[64];
    char upper[64];
    snprintf(lower, sizeof lower, "%s/", customer);
    snprintf(upper, sizeof upper, "%s0", customer);
    strata_batch *batch;
    must(strata_batch_new(shop->db, &batch));
    must(strata_batch_delete_range(batch, shop->by_customer, strata_str(lower), strata_str(upper)));
    for (int i = 0; i < count; i++) {
        must(strata_batch_delete(batch, shop->orders, strata_str(orders[i])));
    }
    must(strata_commit(shop->db, NULL, batch, NULL));
    strata_batch_free(batch);
}

int main(int argc, char **argv)
{
    struct shop shop;
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE | STRATA_OPEN_NEW;
    must(strata_open(argc > 1 ? argv[1] : "shop.db", &options, &shop.db));

    // Each keyspace has options of its own; this index is read more than it is written.
    strata_keyspace_options leveled = STRATA_KEYSPACE_OPTIONS_INIT;
    leveled.shape = STRATA_SHAPE_LEVELED;
    must(strata_keyspace_create(shop.db, "orders", NULL, &shop.orders));
    must(strata_keyspace_create(shop.db, "by customer", &leveled, &shop.by_customer));

    static const char *const orders[][2] = {{"1001", "ada"}, {"1002", "bob"}, {"1003", "ada"}};
    static const char *const of_ada[] = {"1001", "1003"};
    uint64_t commit = add_orders(&shop, orders, 3);
    check(print_orders(&shop, "ada", STRATA_NOW) == 2, "two orders of ada");
    check(print_orders(&shop, "bob", STRATA_NOW) == 1, "one order of bob");

    remove_customer(&shop, "ada", of_ada, 2);
    check(print_orders(&shop, "ada", STRATA_NOW) == 0, "no order of ada now");
    check(print_orders(&shop, "ada", commit) == 2, "two orders of ada as of the first commit");
    must(strata_close(shop.db));
    return 0;
}
