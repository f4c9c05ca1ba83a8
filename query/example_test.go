package query_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/flowlake/flowlake/query"
)

func Example() {
	var src query.Source = exampleSource() // a *db.DB, for instance
	ctx := context.Background()
	res, err := query.New(src).Query(ctx, `
		SELECT client.pod, count(*) AS flows, sum(bytes_tx + bytes_rx) AS bytes
		FROM flows WHERE server_port = 443
		GROUP BY client.pod ORDER BY bytes DESC LIMIT 2`)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range res.Columns() {
		fmt.Printf("%s %s (%s)\n", c.Name, c.Type, c.Unit)
	}
	rows, err := res.All(ctx) // Next gives batches of columns instead
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range rows {
		fmt.Println(r)
	}
	// Output:
	// pod VARCHAR ()
	// flows BIGINT ()
	// bytes BIGINT (bytes)
	// [web-1 20 62841]
	// [web-3 20 59481]
}

func exampleSource() *memSource { return fill(&testing.B{}) }
