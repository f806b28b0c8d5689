// Damaged value files: every byte, every length, wrong names, and an index that lies. What is read
// is right or refused, and verification finds what counts.
#include "unit/value_world.h"

#include "base/endian.h"
#include "base/hash.h"

#define VALUES 40

struct subject {
    struct world w;
    struct value_meta meta;
    struct kv_value_ref refs[VALUES];
    uint64_t offsets[VALUES];
    struct sim_inode *inode;
    uint64_t records_end;
};

static void subject_init(struct subject *s)
{
    world_begin(&s->w);
    struct value_file *f = world_new(&s->w, 4);
    for (uint64_t i = 0; i < VALUES; i++) {
        struct value_place p =
            append(f, i, 20 + (size_t)i * 9,
                   i % 3 == 0 ? STRATA_COMPRESSION_NONE : STRATA_COMPRESSION_LZ4);
        s->refs[i] = p.ref;
        s->offsets[i] = p.offset;
    }
    s->records_end = value_file_bytes(f);
    assert_int_equal(value_file_finish(f), STRATA_OK);
    assert_int_equal(value_meta_copy(value_file_meta(f), &s->meta), STRATA_OK);
    value_file_unref(f);
    s->inode = sim_dir_find(sim_disk_dir(s->w.disk, "/db", false), "000004.value");
    sim_inode_own_current(s->inode);
}

static void subject_release(struct subject *s)
{
    value_meta_release(&s->meta);
    world_end(&s->w);
}

static bool is_typed(strata_rc rc)
{
    return rc == STRATA_CORRUPT || rc == STRATA_VERSION;
}

// Opens and reads everything; returns how many reads were refused, VALUES when the file was.
static uint32_t read_all(struct subject *s)
{
    struct value_file *f;
    uint32_t refused = 0;
    strata_rc rc = value_file_open(&s->w.env, &s->meta, &f);
    if (rc != STRATA_OK) {
        assert_true(is_typed(rc));
        return VALUES;
    }
    for (uint64_t i = 0; i < VALUES; i++) {
        rc = try_read(f, &s->refs[i], i);
        assert_true(rc == STRATA_OK || is_typed(rc));
        refused += rc != STRATA_OK;
    }
    value_file_unref(f);
    return refused;
}

static uint64_t verify(struct subject *s)
{
    struct value_file *f;
    struct faults faults = {0};
    strata_rc rc = value_file_open(&s->w.env, &s->meta, &f);
    if (rc != STRATA_OK) {
        assert_true(is_typed(rc));
        return 1;
    }
    rc = value_file_verify(f, count_fault, count_visit, &faults);
    assert_int_equal(rc, faults.count == 0 ? STRATA_OK : STRATA_CORRUPT);
    value_file_unref(f);
    return faults.count;
}

// Does any record, or the header, or the index have this byte?
static bool byte_counts(const struct subject *s, size_t at)
{
    if (at < VALUE_HEADER_BYTES || at >= value_round_up(s->records_end, VALUE_SECTOR_BYTES)) {
        return true;
    }
    for (size_t i = 0; i < VALUES; i++) {
        uint32_t stored = load_u32(s->inode->current->data + s->offsets[i] + 8) & 0xffffff;
        uint64_t end = s->offsets[i] + VALUE_RECORD_HEADER_BYTES + stored;
        if (at >= s->offsets[i] && at < end) {
            return true;
        }
    }
    return false;
}

static void every_damaged_byte_is_right_or_refused(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    assert_int_equal(read_all(&s), 0);
    assert_int_equal(verify(&s), 0);
    uint64_t found = 0;
    for (size_t at = 0; at < s.inode->current->bytes; at++) {
        uint8_t *byte = &s.inode->current->data[at];
        uint8_t flip = (uint8_t)(1u << (at % 8));
        bool counts = byte_counts(&s, at);
        *byte ^= flip;
        uint32_t refused = read_all(&s);
        uint64_t faults = verify(&s);
        *byte ^= flip;
        assert_true((faults > 0) == counts);
        assert_true((refused > 0) == counts);
        if (at >= VALUE_HEADER_BYTES && at < s.records_end && counts) {
            // Damage in a record is that of one value.
            assert_int_equal(refused, 1);
            assert_int_equal(faults, 1);
        }
        found += faults;
    }
    assert_true(found > s.inode->current->bytes / 2);
    assert_int_equal(read_all(&s), 0);
    subject_release(&s);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    size_t bytes = s.inode->current->bytes;
    for (size_t cut = 0; cut < bytes; cut += 7) {
        s.inode->current->bytes = cut;
        assert_int_equal(read_all(&s), VALUES);
    }
    s.inode->current->bytes = bytes;
    assert_int_equal(read_all(&s), 0);
    subject_release(&s);
}

static void another_meta_is_refused(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    s.meta.logicals[0].records++;
    assert_int_equal(read_all(&s), VALUES);
    assert_int_equal(verify(&s), 1);
    s.meta.logicals[0].records--;
    s.meta.keyspace++;
    assert_int_equal(read_all(&s), VALUES);
    s.meta.keyspace--;
    s.meta.bytes++;
    assert_int_equal(read_all(&s), VALUES);
    s.meta.bytes--;
    // A file under the name of another.
    struct sim_dir *dir = sim_disk_dir(s.w.disk, "/db", false);
    sim_dir_rename(s.w.disk, dir, "000004.value", "000005.value");
    s.meta.file = 5;
    assert_int_equal(read_all(&s), VALUES);
    subject_release(&s);
}

// Values of an unfinished file under damage: found and right, or not found.
static void damage_of_an_unfinished_file_is_a_missing_value(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    s.inode->current->bytes = (size_t)s.records_end;
    for (size_t at = 0; at < s.records_end; at++) {
        uint8_t *byte = &s.inode->current->data[at];
        uint8_t flip = (uint8_t)(1u << (at % 8));
        struct value_file *f;
        uint32_t missing = 0;
        bool counts = byte_counts(&s, at);
        *byte ^= flip;
        strata_rc rc = value_file_recover(&s.w.env, 4, &f);
        assert_int_equal(rc, at < VALUE_HEADER_BYTES ? STRATA_NOT_FOUND : STRATA_OK);
        for (uint64_t i = 0; rc == STRATA_OK && i < VALUES; i++) {
            strata_rc added = value_file_recover_add(f, &s.refs[i], s.offsets[i]);
            assert_true(added == STRATA_OK || added == STRATA_NOT_FOUND);
            missing += added == STRATA_NOT_FOUND;
            if (added == STRATA_OK && at % 16 == 0) {
                check(f, &s.refs[i], i);
            }
        }
        *byte ^= flip;
        if (rc == STRATA_OK) {
            assert_int_equal(missing, counts);
            value_file_unref(f);
        }
    }
    subject_release(&s);
}

// Every byte of the index is damaged: the file counts as unfinished, and recovers.
static void a_damaged_index_recovers_by_the_log(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    for (size_t at = (size_t)s.records_end; at < s.inode->current->bytes; at++) {
        uint8_t *byte = &s.inode->current->data[at];
        bool counts = byte_counts(&s, at);
        struct value_file *f;
        *byte ^= 0x41;
        assert_int_equal(value_file_recover(&s.w.env, 4, &f), STRATA_OK);
        assert_true(value_file_is_finished(f) == !counts);
        for (uint64_t i = 0; i < VALUES; i++) {
            assert_int_equal(value_file_recover_add(f, &s.refs[i], s.offsets[i]), STRATA_OK);
        }
        check(f, &s.refs[at % VALUES], at % VALUES);
        value_file_unref(f);
        *byte ^= 0x41;
    }
    subject_release(&s);
}

// Overwrites a field of the directory and seals it again.
static void forge(struct subject *s, size_t field, uint64_t value, size_t bytes)
{
    uint8_t *data = s->inode->current->data;
    size_t file_bytes = s->inode->current->bytes;
    uint8_t *footer = data + file_bytes - VALUE_FOOTER_BYTES;
    uint64_t offset = load_u64(footer + 48);
    uint64_t directory_bytes = load_u64(footer + 56);
    uint8_t *directory = data + offset;
    memcpy(directory + field, &value, bytes);
    store_u64(directory,
              checksum64(checksum_seed(4, offset), directory + 8, (size_t)directory_bytes - 8));
}

static void a_sealed_directory_that_lies_is_refused(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    size_t bytes = s.inode->current->bytes;
    uint8_t *good = malloc(bytes);
    assert_non_null(good);
    memcpy(good, s.inode->current->data, bytes);
    static const struct {
        size_t field, bytes;
        uint64_t value;
    } lies[] = {
        {8, 4, 0},       {8, 4, 2},           {8, 4, UINT32_MAX},
        {12, 4, 0},      {12, 4, 2},          {12, 4, UINT32_MAX},
        {16 + 32, 4, 0}, {16 + 32, 4, 2},     {16 + 32, 4, UINT32_MAX},
        {56 + 4, 2, 0},  {56 + 4, 2, 65535},  {56 + 4, 2, 41},
        {56 + 6, 2, 0},  {56 + 6, 2, 3},      {56 + 6, 2, 2},
        {56, 4, 1},      {56, 4, UINT32_MAX}, {16, 8, 5},
        {24, 8, 41},     {32, 8, 1},          {40, 8, 77},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        forge(&s, lies[i].field, lies[i].value, lies[i].bytes);
        assert_int_equal(read_all(&s), VALUES);
        assert_true(verify(&s) > 0);
        memcpy(s.inode->current->data, good, bytes);
    }
    free(good);
    assert_int_equal(read_all(&s), 0);
    subject_release(&s);
}

// Offsets in a sealed block that lead elsewhere, before the records or behind them.
static void a_sealed_block_that_lies_is_refused(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    uint64_t begin = value_round_up(s.records_end, VALUE_SECTOR_BYTES);
    uint8_t *block = s.inode->current->data + begin;
    size_t bytes = (size_t)value_round_up(VALUE_BLOCK_HEADER_BYTES + VALUES * 4, 8);
    const uint32_t lies[] = {0, 1, 63, 65, UINT32_MAX, (uint32_t)(begin / 8), 70};
    uint32_t good = load_u32(block + VALUE_BLOCK_HEADER_BYTES + 20);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        store_u32(block + VALUE_BLOCK_HEADER_BYTES + 20, lies[i]);
        store_u64(block, checksum64(checksum_seed(4, begin), block + 8, bytes - 8));
        assert_true(read_all(&s) > 0);
        assert_true(verify(&s) > 0);
    }
    store_u32(block + VALUE_BLOCK_HEADER_BYTES + 20, good);
    store_u64(block, checksum64(checksum_seed(4, begin), block + 8, bytes - 8));
    assert_int_equal(read_all(&s), 0);
    subject_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_damaged_byte_is_right_or_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(another_meta_is_refused),
        cmocka_unit_test(damage_of_an_unfinished_file_is_a_missing_value),
        cmocka_unit_test(a_damaged_index_recovers_by_the_log),
        cmocka_unit_test(a_sealed_directory_that_lies_is_refused),
        cmocka_unit_test(a_sealed_block_that_lies_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
