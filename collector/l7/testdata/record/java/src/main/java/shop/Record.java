package shop;

import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;

/** Records nothing itself: it is server and client of the frameworks that have no other implementation at hand. */
public final class Record {
    private static final String TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    private static final String SW8 = "1-dHJhY2U=-c2VnbWVudA==-3-c2hvcA==-c2hvcA==-L29yZGVycw==-MTI3LjAuMC4xOjIwODgw";

    public static void main(String[] args) {
        switch (args[0]) {
            case "brpc" -> BrpcOrders.calls(TRACEPARENT);
            case "dubbo" -> dubbo();
            case "sofarpc" -> sofarpc();
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0); // the frameworks' threads stay
    }

    /** Calls of all kinds. */
    private static void calls(Orders orders) {
        orders.greet("Ada");
        orders.find(7, new ArrayList<>(List.of("id", "größe")), new HashMap<>(Map.of("max", 10)));
        orders.touch(new int[] {1, 2, 3});
        try {
            orders.fail("no stock");
            throw new AssertionError("it did not fail");
        } catch (IllegalStateException e) {
            System.out.println(e);
        }
    }

    private static void dubbo() {
        ApplicationConfig application = new ApplicationConfig("shop");
        application.setQosEnable(false);
        application.setSerializeCheckStatus("DISABLE");
        application.setMetadataType("local");
        String[] serializations = {"hessian2", "fastjson2", "kryo", "fastjson"};
        DubboBootstrap bootstrap = DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A"));
        int port = 20880;
        for (String serialization : serializations) {
            ProtocolConfig protocol = new ProtocolConfig("dubbo", port);
            protocol.setId("dubbo-" + serialization);
            protocol.setHost("127.0.0.1");
            protocol.setSerialization(serialization);
            protocol.setPreferSerialization(serialization);
            ServiceConfig<Orders> service = new ServiceConfig<>();
            service.setInterface(Orders.class);
            service.setRef(new Orders.Shop());
            service.setProtocol(protocol);
            service.setVersion("1.0." + (port - 20880));
            bootstrap.protocol(protocol).service(service);
            port++;
        }
        bootstrap.start();
        port = 20880;
        for (String serialization : serializations) {
            ReferenceConfig<Orders> reference = new ReferenceConfig<>();
            reference.setInterface(Orders.class);
            reference.setVersion("1.0." + (port - 20880));
            reference.setUrl("dubbo://127.0.0.1:" + port + "/shop.Orders?serialization=" + serialization + "&prefer.serialization=" + serialization);
            reference.setTimeout(10_000);
            MethodConfig touch = new MethodConfig();
            touch.setName("touch");
            touch.setReturn(false); // nobody waits for an answer
            reference.setMethods(List.of(touch));
            Orders orders = reference.get();
            RpcContext.getClientAttachment().setAttachment("traceparent", TRACEPARENT);
            RpcContext.getClientAttachment().setAttachment("sw8", SW8);
            calls(orders);
            ReferenceConfig<Orders> missing = new ReferenceConfig<>();
            missing.setInterface(Orders.class);
            missing.setVersion("9.9.9");
            missing.setUrl("dubbo://127.0.0.1:" + port + "/shop.Orders?serialization=" + serialization);
            missing.setCheck(false);
            missing.setRetries(0);
            try {
                missing.get().greet("nobody");
                throw new AssertionError("it did not fail");
            } catch (RuntimeException e) {
                System.out.println(e.getMessage());
            }
            port++;
        }
    }

    private static void sofarpc() {
        ServerConfig server = new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(12200).setDaemon(true);
        new ProviderConfig<Orders>().setInterfaceId(Orders.class.getName()).setRef(new Orders.Shop()).setServer(server).export();
        ConsumerConfig<Orders> consumer = new ConsumerConfig<Orders>().setInterfaceId(Orders.class.getName()).setProtocol("bolt")
            .setDirectUrl("bolt://127.0.0.1:12200").setTimeout(10_000);
        Orders orders = consumer.refer();
        RpcInvokeContext.getContext().addCustomHeader("traceparent", TRACEPARENT);
        calls(orders);
        ConsumerConfig<Orders> missing = new ConsumerConfig<Orders>().setInterfaceId(Orders.class.getName()).setUniqueId("nowhere").setProtocol("bolt")
            .setDirectUrl("bolt://127.0.0.1:12200").setTimeout(10_000);
        try {
            missing.refer().greet("nobody");
            throw new AssertionError("it did not fail");
        } catch (RuntimeException e) {
            System.out.println(e.getMessage());
        }
    }
}
