package sqltext

// search is where the name of a statement's table is to be found.
type search uint8

const (
	searchNone search = iota // nowhere
	searchVerb               // nothing was seen yet
	searchWith               // behind WITH: the verb at the outermost level
	searchFrom               // behind FROM
	searchKind               // behind TABLE, VIEW, ...; an index is its table's
	searchOn                 // behind ON
	searchLoad               // behind INTO TABLE
	searchName               // here, but for some keywords
	searchRest               // the name goes on behind a dot
	searchDot                // the name may go on with a dot
)

// verbs says which statements there are and where their table is.
var verbs = map[string]search{
	"SELECT": searchFrom, "DELETE": searchFrom, "WITH": searchWith, "INSERT": searchName, "REPLACE": searchName,
	"MERGE": searchName, "UPSERT": searchName, "UPDATE": searchName, "TRUNCATE": searchName, "CALL": searchName, "COPY": searchName,
	"DESC": searchName, "USE": searchName, "DESCRIBE": searchName, "TABLE": searchName, "HANDLER": searchName, "REFRESH": searchKind, "RENAME": searchKind,
	"CREATE": searchKind, "DROP": searchKind, "ALTER": searchKind, "LOCK": searchKind, "LOAD": searchLoad,

	"SET": searchNone, "SHOW": searchNone, "EXPLAIN": searchNone, "EXECUTE": searchNone, "PREPARE": searchNone,
	"DEALLOCATE": searchNone, "BEGIN": searchNone, "START": searchNone, "STOP": searchNone, "COMMIT": searchNone, "ROLLBACK": searchNone,
	"SAVEPOINT": searchNone, "RELEASE": searchNone, "ABORT": searchNone, "END": searchNone, "UNLOCK": searchNone,
	"GRANT": searchNone, "REVOKE": searchNone, "ANALYZE": searchNone, "ANALYSE": searchNone, "OPTIMIZE": searchNone, "CHECK": searchNone,
	"REPAIR": searchNone, "CHECKSUM": searchNone, "CHECKPOINT": searchNone, "FLUSH": searchNone, "RESET": searchNone, "KILL": searchNone,
	"DO": searchNone, "XA": searchNone, "VACUUM": searchNone, "REINDEX": searchNone, "CLUSTER": searchNone, "LISTEN": searchNone,
	"UNLISTEN": searchNone, "NOTIFY": searchNone, "DECLARE": searchNone, "FETCH": searchNone, "MOVE": searchNone, "CLOSE": searchNone,
	"DISCARD": searchNone, "COMMENT": searchNone, "VALUES": searchNone, "BINLOG": searchNone, "CHANGE": searchNone, "PURGE": searchNone,
	"INSTALL": searchNone, "UNINSTALL": searchNone, "IMPORT": searchNone, "RESTART": searchNone, "SHUTDOWN": searchNone, "HELP": searchNone,
	"CACHE": searchNone, "SIGNAL": searchNone, "RESIGNAL": searchNone, "SECURITY": searchNone, "REASSIGN": searchNone, "ADMIN": searchNone,
}

// verbNames has the names as strings that need no allocation.
var verbNames = func() map[string]string {
	m := map[string]string{}
	for v := range verbs {
		m[v] = v
	}
	return m
}()

// skipped are the words that may stand between a verb, FROM or INTO and the name.
var skipped = map[string]bool{
	"INTO": true, "TABLE": true, "TABLES": true, "ONLY": true, "LATERAL": true, "IF": true, "NOT": true, "EXISTS": true, "IGNORE": true,
	"LOW_PRIORITY": true, "HIGH_PRIORITY": true, "DELAYED": true, "QUICK": true, "OVERWRITE": true, "OR": true, "ROLLBACK": true,
	"ABORT": true, "FAIL": true, "CONCURRENTLY": true,
}

// kinds are the words before the name of what is created, dropped or altered.
var kinds = map[string]search{
	"TABLE": searchName, "TABLES": searchName, "VIEW": searchName, "SEQUENCE": searchName, "DATABASE": searchName, "SCHEMA": searchName,
	"FUNCTION": searchName, "PROCEDURE": searchName, "INDEX": searchOn, "TRIGGER": searchOn,
	"USER": searchNone, "ROLE": searchNone, "EXTENSION": searchNone, "SERVER": searchNone, "EVENT": searchNone, "TYPE": searchNone,
	"DOMAIN": searchNone, "POLICY": searchNone, "PUBLICATION": searchNone, "SUBSCRIPTION": searchNone, "SYSTEM": searchNone,
}

// withFrom are the functions whose arguments are told apart by FROM.
var withFrom = map[string]bool{
	"EXTRACT": true, "SUBSTRING": true, "SUBSTR": true, "MID": true, "TRIM": true, "OVERLAY": true,
}

// maxKeyword is the length of the longest keyword above.
const maxKeyword = 16

// maxTable bounds a name, in bytes.
const maxTable = 192

// keyword returns the word in upper case, in buf; empty when it is too long for a keyword.
func keyword(buf *[maxKeyword]byte, word []byte) []byte {
	if len(word) > maxKeyword {
		return nil
	}
	for i, b := range word {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		buf[i] = b
	}
	return buf[:len(word)]
}

// verbOf looks a verb up.
func verbOf(word []byte) (verb string, s search) {
	var buf [maxKeyword]byte
	kw := keyword(&buf, word)
	return verbNames[string(kw)], verbs[string(kw)]
}

// spotter finds the verb and the table while the tokens go by.
type spotter struct {
	verb  string
	table []byte

	search   search
	kind     search // of searchFrom: what was looked for when a name was found
	depth    int    // parentheses open
	base     int    // those before the verb
	function uint64 // by depth: whether the parentheses are those of a function of withFrom
	nested   bool   // the name was found within a subquery: a better one may follow
	distinct bool   // the last word was DISTINCT
	trimming bool   // so was one of withFrom
}

func (s *spotter) reset(table []byte) { *s = spotter{search: searchVerb, table: table} }

func (s *spotter) result() (string, []byte) { return s.verb, s.table }

// see takes the next token.
func (s *spotter) see(text []byte, k kind) {
	switch s.search {
	case searchNone:
		return
	case searchDot:
		if k == kindPunct && text[0] == '.' && len(s.table) < maxTable {
			s.table = append(s.table, '.')
			s.search = searchRest
			return
		}
		s.named()
		if s.search == searchNone {
			return
		}
	case searchName, searchRest:
		if s.name(text, k) {
			return
		}
	}
	switch k {
	case kindPunct:
		s.punct(text[0])
		s.distinct, s.trimming = false, false
	case kindWord:
		s.word(text)
	default:
		s.distinct, s.trimming = false, false
		if s.search == searchVerb {
			s.search = searchNone
		}
	}
}

// name takes a token where a name should stand and says whether it was one.
func (s *spotter) name(text []byte, k kind) bool {
	switch {
	case k == kindQuoted || k == kindLiteral && text[0] == '"':
		text = unquote(text)
	case k == kindWord:
		var buf [maxKeyword]byte
		if s.search != searchRest && skipped[string(keyword(&buf, text))] {
			return true
		}
	default:
		if s.search == searchRest || s.kind != searchFrom {
			s.search = searchNone
		} else {
			s.search = searchFrom // FROM (SELECT ...
		}
		return false
	}
	s.table = append(s.table, text[:min(len(text), max(maxTable-len(s.table), 0))]...)
	s.search = searchDot
	return true
}

// named is called when a name is complete.
func (s *spotter) named() {
	s.search = searchNone
	if s.kind == searchFrom && s.nested {
		s.search = searchFrom
	}
}

func (s *spotter) punct(b byte) {
	switch b {
	case '(':
		s.depth++
		bit := uint64(1) << (s.depth & 63)
		s.function &^= bit
		if s.trimming {
			s.function |= bit
		}
		if s.search == searchVerb {
			s.base = s.depth
		}
	case ')':
		s.depth = max(s.depth-1, 0)
	case '{', ';':
	default:
		if s.search == searchVerb {
			s.search = searchNone
		}
	}
}

// word takes a word that is no name.
func (s *spotter) word(text []byte) {
	var buf [maxKeyword]byte
	kw := keyword(&buf, text)
	wasDistinct := s.distinct
	s.distinct, s.trimming = string(kw) == "DISTINCT", false
	switch s.search {
	case searchVerb:
		s.verb, s.search = verbOf(text)
		s.kind = s.search
	case searchWith:
		if s.depth == s.base {
			switch v, where := verbOf(text); v {
			case "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE":
				s.verb, s.search, s.kind = v, where, where
			}
		}
	case searchFrom:
		if s.trimming = withFrom[string(kw)]; s.trimming || string(kw) != "FROM" || wasDistinct || s.function&(1<<(s.depth&63)) != 0 {
			return
		}
		nested := s.depth > s.base
		if s.nested && nested && len(s.table) > 0 { // the first one was as good
			return
		}
		s.nested = nested
		s.table = s.table[:0]
		s.search = searchName
	case searchKind:
		if where, ok := kinds[string(kw)]; ok {
			s.search, s.kind = where, where
		}
	case searchOn:
		if string(kw) == "ON" {
			s.search = searchName
		}
	case searchLoad:
		if string(kw) == "TABLE" {
			s.search = searchName
		}
	}
}

// unquote takes the quotes off.
func unquote(name []byte) []byte {
	quote := name[0]
	name = name[1:]
	if n := len(name); n > 0 && name[n-1] == quote {
		name = name[:n-1]
	}
	return name
}
