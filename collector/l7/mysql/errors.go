package mysql

// clientCodes are the errors of the client among those whose SQLSTATE does not tell, or tells otherwise (MySQL Error Message
// Reference, server errors).
var clientCodes = map[uint16]bool{
	1046: true, // no database selected
	1095: true, // not owner of thread
	1094: true, // unknown thread
	1115: true, // unknown character set
	1193: true, // unknown system variable
	1227: true, // access denied
	1231: true, // wrong value for variable
	1235: true, // not supported yet
	1238: true, // variable is read only
	1243: true, // unknown prepared statement
	1273: true, // unknown collation
	1290: true, // the server runs with an option that forbids it
	1292: true, // truncated wrong value
	1317: true, // query interrupted
	1364: true, // no default value
	1366: true, // incorrect value
	1390: true, // too many placeholders
	1396: true, // operation on an account failed
	1418: true, // unsafe routine
	1419: true,
	1449: true, // definer does not exist
	1526: true, // no partition for value
	1701: true, // truncate of a table with foreign keys
	1792: true, // read-only transaction
	1820: true, // password expired
	1836: true, // read-only mode
	3024: true, // max_execution_time exceeded
	3140: true, // invalid JSON
	3819: true, // check constraint violated
	3948: true, // loading local data is disabled
	4025: true, // check constraint violated (MariaDB)
}

// serverCodes are the errors of the server whose SQLSTATE is of a client's class.
var serverCodes = map[uint16]bool{
	1203: true, // more than max_user_connections
	1226: true, // user has exceeded a resource
	1104: true, // the SELECT would examine too many rows
	1114: true, // the table is full
	1153: true, // packet too large
	1194: true, // table is crashed
	1105: true, // unknown error
}

// repeating are the errors whose message repeats values, or the statement.
var repeating = map[uint16]bool{
	1062: true, 1064: true, 1149: true, 1231: true, 1291: true, 1292: true, 1300: true, 1366: true, 1367: true, 1411: true, 1416: true,
	1525: true, 1586: true, 1690: true, 1859: true, 3140: true, 3141: true,
}

// ClientFault says whether an error is the client's: its statement is wrong, or it may not or cannot do that with this data.
// Else the server failed: overload, storage, deadlocks, lost connections.
func (m *Err) ClientFault() bool {
	switch {
	case serverCodes[m.Code]:
		return false
	case clientCodes[m.Code]:
		return true
	case len(m.State) < 2:
		return false
	}
	switch string(m.State[:2]) {
	case "02", "20", "21", "22", "23", "24", "25", "26", "27", "28", "2F", "34", "35", "37", "3D", "3F", "42", "44", "0A", "45":
		return true
	}
	return false
}

// Repeats says whether the message repeats, in quotes, values or the statement.
func (m *Err) Repeats() bool { return repeating[m.Code] }
