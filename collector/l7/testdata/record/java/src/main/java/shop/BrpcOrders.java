package shop;

import com.baidu.brpc.RpcContext;
import com.baidu.brpc.client.BrpcProxy;
import com.baidu.brpc.client.RpcClient;
import com.baidu.brpc.client.RpcClientOptions;
import com.baidu.brpc.exceptions.RpcException;
import com.baidu.brpc.protocol.BrpcMeta;
import com.baidu.brpc.protocol.Options;
import com.baidu.brpc.server.RpcServer;
import com.google.protobuf.StringValue;
import java.nio.charset.StandardCharsets;

/** bRPC's server and client. */
public interface BrpcOrders {
    @BrpcMeta(serviceName = "shop.Orders", methodName = "Greet")
    StringValue greet(StringValue name);

    @BrpcMeta(serviceName = "shop.Orders", methodName = "Fail")
    StringValue fail(StringValue why);

    /** The implementation. */
    class Shop implements BrpcOrders {
        @Override public StringValue greet(StringValue name) { return StringValue.of("hello " + name.getValue()); }
        @Override public StringValue fail(StringValue why) { throw new IllegalStateException(why.getValue()); }
    }

    static void calls(String traceparent) {
        RpcServer server = new RpcServer(8002);
        server.registerService(new Shop());
        server.start();
        RpcClientOptions options = new RpcClientOptions();
        options.setProtocolType(Options.ProtocolType.PROTOCOL_BAIDU_STD_VALUE);
        options.setReadTimeoutMillis(10_000);
        options.setMinIdleConnections(1);
        RpcClient client = new RpcClient("list://127.0.0.1:8002", options);
        BrpcOrders orders = BrpcProxy.getProxy(client, BrpcOrders.class);
        RpcContext.getContext().setRequestKvAttachment("traceparent", traceparent);
        RpcContext.getContext().setLogId(9L);
        System.out.println(orders.greet(StringValue.of("Ada")).getValue());
        RpcContext.getContext().reset();
        RpcContext.getContext().setRequestBinaryAttachment("attached".getBytes(StandardCharsets.UTF_8));
        System.out.println(orders.greet(StringValue.of("Bob")).getValue());
        RpcContext.getContext().reset();
        try {
            orders.fail(StringValue.of("no stock"));
            throw new AssertionError("it did not fail");
        } catch (RpcException e) {
            System.out.println(e.getMessage());
        }
    }
}
