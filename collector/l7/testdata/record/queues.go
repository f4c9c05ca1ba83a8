package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func amqpScenario(ctx context.Context) error {
	c, err := amqp.Dial("amqp://guest:guest@127.0.0.1:5672/")
	if err != nil {
		return err
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	if err := ch.ExchangeDeclare("orders", "topic", false, true, false, false, nil); err != nil {
		return err
	}
	q, err := ch.QueueDeclare("new-orders", false, true, false, false, nil)
	if err != nil {
		return err
	}
	if err := ch.QueueBind(q.Name, "order.*", "orders", false, nil); err != nil {
		return err
	}
	deliveries, err := ch.Consume(q.Name, "reader", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for i := range 3 {
		d, err := ch.PublishWithDeferredConfirm("orders", "order.new", false, false, amqp.Publishing{
			Headers: amqp.Table{"traceparent": traceparent, "n": int32(i)}, ContentType: "text/plain", CorrelationId: fmt.Sprint("c", i), Body: []byte("order"),
		})
		if err != nil {
			return err
		}
		if _, err := d.WaitContext(ctx); err != nil {
			return err
		}
		if err := (<-deliveries).Ack(false); err != nil {
			return err
		}
	}
	if _, err := ch.QueueDeclarePassive("missing", false, false, false, false, nil); err == nil {
		return errors.New("a queue that is not there")
	}
	return nil
}

func natsScenario(ctx context.Context) error {
	c, err := nats.Connect("nats://127.0.0.1:4222", nats.Name("recorder"))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Subscribe("orders.new", func(m *nats.Msg) { _ = m.Respond([]byte("done")) }); err != nil {
		return err
	}
	for range 2 {
		if _, err := c.RequestWithContext(ctx, "orders.new", []byte("order")); err != nil {
			return err
		}
	}
	m := nats.NewMsg("orders.log")
	m.Header.Set("traceparent", traceparent)
	m.Data = []byte("with a header")
	if err := c.PublishMsg(m); err != nil {
		return err
	}
	if _, err := c.RequestWithContext(ctx, "nobody.listens", nil); !errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("asked nobody: %v", err)
	}
	return c.FlushWithContext(ctx)
}

func kafkaScenario(ctx context.Context) error {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.SeedTopics(2, "orders"))
	if err != nil {
		return err
	}
	defer broker.Close()
	c, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:9092"), kgo.ClientID("recorder"), kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("readers"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range 3 {
		r := &kgo.Record{Topic: "orders", Key: fmt.Append(nil, i), Value: []byte("order"), Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte(traceparent)}}}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
	}
	for n := 0; n < 3; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		n += fetches.NumRecords()
	}
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		return err
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "missing", Value: []byte("x")}).FirstErr(); err == nil {
		return errors.New("a topic that is not there")
	}
	return c.LeaveGroupContext(ctx)
}

func zmtpScenario(ctx context.Context) error {
	rep := zmq4.NewRep(ctx)
	defer rep.Close()
	if err := rep.Listen("tcp://127.0.0.1:5555"); err != nil {
		return err
	}
	go func() {
		for {
			m, err := rep.Recv()
			if err != nil {
				return
			}
			_ = rep.Send(zmq4.NewMsgFrom([]byte("got"), m.Bytes()))
		}
	}()
	req := zmq4.NewReq(ctx)
	defer req.Close()
	if err := req.Dial("tcp://127.0.0.1:5555"); err != nil {
		return err
	}
	for i := range 3 {
		if err := req.Send(zmq4.NewMsgString(fmt.Sprint("hello ", i))); err != nil {
			return err
		}
		if _, err := req.Recv(); err != nil {
			return err
		}
	}
	return nil
}
