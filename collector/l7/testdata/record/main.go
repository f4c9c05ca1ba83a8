// Command record is the clients, and the servers that Debian does not have, for record.sh: one scenario per name. It is a
// module of its own, so that what it needs is not needed by Flowlake.
package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

const (
	traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	patience    = time.Minute
)

var scenarios = map[string]func(context.Context) error{
	"amqp": amqpScenario, "grpc": grpcScenario, "kafka": kafkaScenario, "mysql": mysqlScenario, "nats": natsScenario,
	"postgresql": postgresqlScenario, "thrift": thriftScenario, "websocket": websocketScenario, "zmtp": zmtpScenario,
}

func main() {
	if len(os.Args) != 2 || scenarios[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: record NAME")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := scenarios[os.Args[1]](ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
