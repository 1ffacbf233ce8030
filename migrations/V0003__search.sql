-- Search: what a word of a message is, and the index that finds messages by their words.
--
-- Only adds. A node of the version before goes on beside it; what it writes is indexed like everything else.
--
-- The index is made while nobody can post: refinery runs a migration in a transaction, and CREATE INDEX CONCURRENTLY does
-- not run in one. That is a second for 20,000 messages (20 words each), so a large installation makes it beforehand, while
-- the version before runs on: execute the functions of this file, then CREATE INDEX CONCURRENTLY with the definition below
-- (100 million messages: a good hour, with maintenance_work_mem at 1 GB or more less), and then upgrade. This file finds
-- both there and does nothing. A concurrent build that was interrupted leaves an index that is not valid; that is refused
-- here, before anything of this file has happened: DROP INDEX CONCURRENTLY messages_search_idx, and make it again.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('messages_search_idx') AND NOT indisvalid) THEN
        RAISE EXCEPTION 'the index messages_search_idx is not valid; drop it and make it again, concurrently';
    END IF;
END $$;

-- The words of a message as it is searched and as its hits are marked, with blanks between them: letters and digits of any
-- script stay, all else becomes a blank, one for one. What is a separator is said by code points, because the parser of
-- PostgreSQL takes everything beyond ASCII for a letter where the database's locale is C, so that a word would not be found
-- beside a typographic quote or an emoji. Scripts that are written without blanks (Chinese, Japanese, Thai, Lao, Burmese,
-- Khmer) have each character for a word. A blank is not replaced by a blank, which is what most of the time would go to:
-- whoever posts pays for this. Not declared strict, or it would not be inlined.
CREATE OR REPLACE FUNCTION search_text(body text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN octet_length(body) = char_length(body) THEN
        regexp_replace(body COLLATE "C", '[^a-zA-Z0-9 ]', ' ', 'g')
    ELSE
        regexp_replace(
            regexp_replace(
                body COLLATE "C",
                '[\u0001-\u001F\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00A9\u00AB-\u00B4\u00B6-\u00B9'
                '\u00BB-\u00BF\u00D7\u00F7\u02C2-\u02C5\u0589\u05BE\u060C\u061B\u061F\u066A-\u066D\u06D4\u0964\u0965'
                '\u2000-\u206F\u20A0-\u20CF\u2190-\u2BFF\u2E00-\u2E7F\u3000-\u3004\u3008-\u3020\u3030\u30FB\uE000-\uF8FF'
                '\uFE00-\uFE6F\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65\U0001F000-\U0001FAFF]',
                ' ', 'g'),
            '([\u0E01-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF'
            '\U00020000-\U0003FFFF])',
            ' \1 ', 'g')
END;

-- The same of a query, where quotes and hyphens mean something and stay (tests/it/search.rs compares the two).
CREATE OR REPLACE FUNCTION search_words(asked text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN octet_length(asked) = char_length(asked) THEN
        regexp_replace(asked COLLATE "C", '[^a-zA-Z0-9 "-]', ' ', 'g')
    ELSE
        regexp_replace(
            regexp_replace(
                asked COLLATE "C",
                '[\u0001-\u001F\u0021\u0023-\u002C\u002E\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00A9\u00AB-\u00B4\u00B6-\u00B9'
                '\u00BB-\u00BF\u00D7\u00F7\u02C2-\u02C5\u0589\u05BE\u060C\u061B\u061F\u066A-\u066D\u06D4\u0964\u0965'
                '\u2000-\u206F\u20A0-\u20CF\u2190-\u2BFF\u2E00-\u2E7F\u3000-\u3004\u3008-\u3020\u3030\u30FB\uE000-\uF8FF'
                '\uFE00-\uFE6F\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65\U0001F000-\U0001FAFF]',
                ' ', 'g'),
            '([\u0E01-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF'
            '\U00020000-\U0003FFFF])',
            ' \1 ', 'g')
END;

-- The configuration `simple` folds case and does nothing else: it knows no language, so it is wrong in none.
CREATE OR REPLACE FUNCTION search_vector(body text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('pg_catalog.simple'::regconfig, search_text(body));

-- What somebody asks for: words, "phrases", or, -without. Any text is a query.
CREATE OR REPLACE FUNCTION search_query(asked text) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN websearch_to_tsquery('pg_catalog.simple'::regconfig, search_words(asked));

-- Where a message is: 8,192 messages of a conversation that follow each other share a slice.
CREATE OR REPLACE FUNCTION search_slice(conversation_id uuid, seq bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN uuid_hash_extended(conversation_id, seq >> 13);

-- Search: the messages of some slices that have some words. The slices are those of the caller's conversations, so nothing
-- is looked at that the caller may not read, whoever else uses the same words; and a slice bounds how much one look-up can
-- find. As an array, because one scan of the index then takes many slices, and needs no extension. Deleted messages have
-- no body and are not in it. New entries wait in a list, which whoever fills it (1 MiB) works off in bulk: that makes
-- posting half as expensive as without the list, and a scan reads the list from end to end, so it is kept short.
CREATE INDEX IF NOT EXISTS messages_search_idx ON messages
    USING gin ((ARRAY[search_slice(conversation_id, seq)]), search_vector(body))
    WITH (fastupdate = on, gin_pending_list_limit = 1024);
