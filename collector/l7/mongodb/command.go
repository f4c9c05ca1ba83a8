package mongodb

import "bytes"

// Command is what a request asks for.
type Command struct {
	// Name is that of the command: find, insert, ...; Database and Collection what it is about.
	Name, Database, Collection []byte
	// Cursor is that of getMore.
	Cursor int64
	// Comment is its comment: a text, or a document when CommentDoc.
	Comment    []byte
	CommentDoc bool
	// IsCommand says that the document is a command, not a query or something to be stored.
	IsCommand bool
}

// legacy are the names of what operations before OP_MSG do to a collection.
var legacy = map[Op][]byte{OpQuery: []byte("find"), OpInsert: []byte("insert"), OpUpdate: []byte("update"), OpDelete: []byte("delete"),
	OpGetMore: []byte("getMore"), OpKillCursors: []byte("killCursors")}

// Command reads what a request asks for from its document as far as it is there.
func (m *Message) Command(c *Command) {
	*c = Command{Cursor: m.Cursor}
	doc := m.Doc
	if m.Op != OpMsg {
		db, collection, _ := bytes.Cut(m.Namespace, []byte("."))
		c.Database = db
		if string(collection) != "$cmd" && m.Op != OpCommand {
			c.Name, c.Collection = legacy[m.Op], collection
			return
		}
	}
	c.IsCommand = true
	var e Element
	for r, i := Elements(doc), 0; r.Next(&e); i++ {
		switch {
		case i == 0 && e.Kind == Document && (string(e.Name) == "$query" || string(e.Name) == "query"): // with options around it
			r, i = Elements(e.Value), -1
		case i == 0:
			c.Name = e.Name
			if e.Kind == String && !isDatabaseCommand(e.Name) {
				c.Collection = e.Value
			}
			if v, ok := e.Number(); ok && string(e.Name) == "getMore" {
				c.Cursor = v
			}
		case string(e.Name) == "$db":
			c.Database = e.Value
		case string(e.Name) == "collection" && e.Kind == String:
			c.Collection = e.Value
		case string(e.Name) == "comment" && (e.Kind == String || e.Kind == Document):
			c.Comment, c.CommentDoc = e.Value, e.Kind == Document
		}
	}
}

// isDatabaseCommand says whether the value of the command is a text but not a collection.
func isDatabaseCommand(name []byte) bool {
	switch string(name) {
	case "createUser", "updateUser", "dropUser", "createRole", "updateRole", "dropRole", "grantRolesToUser", "revokeRolesFromUser", "getLog":
		return true
	}
	return false
}

// Secret says whether the document of a command may hold passwords or proofs of them.
func (c *Command) Secret() bool {
	switch string(c.Name) {
	case "saslStart", "saslContinue", "authenticate", "createUser", "updateUser", "copydbsaslstart", "hello", "isMaster", "ismaster":
		return true
	}
	return false
}

// Result is what a reply says.
type Result struct {
	// Failed says that it is an error, or that a part of the writes failed.
	Failed bool
	// Code, CodeName and Text are those of the (first) error.
	Code           int64
	CodeName, Text []byte
	// Cursor is that with the rest of the result, 0 without.
	Cursor int64
}

// Result reads what a reply says from its document as far as it is there.
func (m *Message) Result(s *Result) {
	*s = Result{}
	if m.Op == OpReply {
		s.Cursor = m.Cursor
		if m.Flags&CursorNotFound != 0 {
			const cursorNotFound = 43
			s.Failed, s.Code, s.Text = true, cursorNotFound, []byte("cursor not found")
			return
		}
		s.Failed = m.Flags&QueryFailure != 0
	}
	var e Element
	for r := Elements(m.Doc); r.Next(&e); {
		switch string(e.Name) {
		case "ok":
			if v, ok := e.Number(); ok && v == 0 {
				s.Failed = true
			}
		case "writeErrors":
			if s.first(e.Value, e.Kind) {
				s.Failed = true
			}
		case "writeConcernError":
			if e.Kind == Document && !s.Failed {
				s.Failed = true
				s.failure(e.Value)
			}
		case "cursor":
			if e.Kind == Document {
				s.cursor(e.Value)
			}
		default:
			if s.Failed || m.Op == OpReply || string(e.Name) == "errmsg" || string(e.Name) == "codeName" {
				s.field(&e)
			} else if string(e.Name) == "code" {
				s.field(&e)
			}
		}
	}
	if !s.Failed {
		s.Code, s.CodeName, s.Text = 0, nil, nil
	}
}

// field takes a field of an error.
func (s *Result) field(e *Element) {
	switch string(e.Name) {
	case "code":
		s.Code, _ = e.Number()
	case "codeName":
		s.CodeName = e.Value
	case "errmsg", "$err":
		if e.Kind == String {
			s.Text = e.Value
		}
	}
}

// failure reads a document about an error.
func (s *Result) failure(doc []byte) {
	var e Element
	for r := Elements(doc); r.Next(&e); {
		s.field(&e)
	}
}

// first reads the first of an array of errors.
func (s *Result) first(array []byte, k Kind) bool {
	var e Element
	if r := Elements(array); k != Array || !r.Next(&e) || e.Kind != Document {
		return false
	}
	s.failure(e.Value)
	return true
}

func (s *Result) cursor(doc []byte) {
	var e Element
	for r := Elements(doc); r.Next(&e); {
		if string(e.Name) == "id" {
			s.Cursor, _ = e.Number()
			return
		}
	}
}

// IsCursor says that a reply is the beginning of a result, which no error is: the rest need not be seen.
func (m *Message) IsCursor() bool {
	var e Element
	r := Elements(m.Doc)
	return r.Next(&e) && string(e.Name) == "cursor"
}

// ServerFault says whether the code of an error is the server's fault: it is not able to, or not now. What was asked wrongly, or
// is not allowed, is the client's.
func ServerFault(code int64) bool {
	switch code {
	case 2, 4, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 26, 27, 28, 30, 31, 32, 33, 34, 35, 36, 38, 40, 41, 42, 43, 44, 45, 47, 48, 49, 51, 52,
		53, 54, 55, 56, 57, 58, 59, 60, 61, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 85, 86, 93, 103, 105, 115, 121, 141, 145, 147, 160, 161, 163, 165,
		166, 167, 168, 169, 171, 172, 173, 197, 211, 213, 216, 217, 222, 224, 225, 227, 229, 232, 235, 238, 241, 248, 251, 256, 257, 259, 263, 286, 293,
		304, 313, 322, 323, 334, 352, 8000, 11000, 11001, 12582:
		return false
	}
	const location = 14000 // above, codes are places in the server's source, most of which check the command
	return code < location
}
