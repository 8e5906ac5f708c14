/* test_utf8.c: UTF-8 against its definition, over every character and every short byte string. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"

static void every_character_comes_back_and_no_surrogate_does(void **st)
{
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        char b[4];
        uint32_t back = 0;
        size_t n = ll_utf8_put(cp, b);
        size_t got = ll_utf8_char(b, n, &back, NULL, NULL);
        if (cp >= 0xd800 && cp <= 0xdfff) assert_int_equal(got, 0);
        else if (got != n || back != cp) fail_msg("U+%04X gave %zu bytes, U+%04X", cp, got, back);
        for (size_t k = 1; k < n && got; k++) { /* every start of it is cut, not wrong */
            size_t broken = 0;
            bool cut = false;
            assert_int_equal(ll_utf8_char(b, k, NULL, &broken, &cut), 0);
            assert_true(cut && broken == k);
        }
    }
}

static void bad_sequences_end_where_unicode_says(void **st)
{
    static const struct {
        const char *s;
        size_t n, broken;
        bool cut;
    } bad[] = {
        {"\x80", 1, 1, false},         {"\xc0\x80", 2, 1, false},     {"\xc1\xbf", 2, 1, false},
        {"\xe0\x80\x80", 3, 1, false}, {"\xed\xa0\x80", 3, 1, false}, {"\xf0\x8f\xbf\xbf", 4, 1, false},
        {"\xf4\x90\x80\x80", 4, 1, false}, {"\xf5\x80", 2, 1, false}, {"\xff", 1, 1, false},
        {"\xe2\x82" "a", 3, 2, false}, {"\xf0\x9f\x99", 3, 3, true},  {"\xf0\x9f\x99" "b", 4, 3, false},
        {"\xc3", 1, 1, true},          {"\xc3" "a", 2, 1, false},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t broken = 0;
        bool cut = !bad[i].cut;
        assert_int_equal(ll_utf8_char(bad[i].s, bad[i].n, NULL, &broken, &cut), 0);
        assert_int_equal(broken, bad[i].broken);
        assert_int_equal(cut, bad[i].cut);
    }
}

static void the_valid_start_is_found_at_every_offset(void **st)
{
    char b[64];
    for (size_t at = 0; at < 40; at++) {
        memset(b, 'x', sizeof b);
        b[at] = '\xff';
        assert_int_equal(ll_utf8_valid(b, sizeof b), at);
        memcpy(b + at, "\xe2\x82\xac", 3);
        assert_int_equal(ll_utf8_valid(b, sizeof b), sizeof b);
        assert_int_equal(ll_utf8_valid(b, at + 2), at);
    }
}

static void excerpts_are_printable_and_bounded(void **st)
{
    char out[16];
    assert_string_equal(ll_printable("a\0b\n\xff", 5, out, 16), "a\\x00b\\x0a\\xff");
    assert_string_equal(ll_printable("0123456789abcdefgh", 18, out, 16), "0123456789ab...");
    assert_string_equal(ll_printable("0123456789abcde", 15, out, 16), "0123456789abcde");
    assert_string_equal(ll_printable("\xc3\xa4", 2, out, 16), "\xc3\xa4");
    assert_string_equal(ll_printable("abc", 3, out, 1), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_comes_back_and_no_surrogate_does),
        cmocka_unit_test(bad_sequences_end_where_unicode_says),
        cmocka_unit_test(the_valid_start_is_found_at_every_offset),
        cmocka_unit_test(excerpts_are_printable_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
