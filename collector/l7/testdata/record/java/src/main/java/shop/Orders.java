package shop;

import java.io.Serializable;
import java.util.List;
import java.util.Map;

/** The service that is called. */
public interface Orders {
    String greet(String name);

    Order find(long id, List<String> fields, Map<String, Integer> limits);

    void touch(int[] ids);

    void fail(String why);

    /** What is passed by value. */
    class Order implements Serializable {
        private static final long serialVersionUID = 1;
        private long id;
        private String name;
        private Order parent;
        private double price;

        public Order() {}

        public Order(long id, String name, Order parent, double price) {
            this.id = id;
            this.name = name;
            this.parent = parent;
            this.price = price;
        }

        public long getId() { return id; }
        public void setId(long id) { this.id = id; }
        public String getName() { return name; }
        public void setName(String name) { this.name = name; }
        public Order getParent() { return parent; }
        public void setParent(Order parent) { this.parent = parent; }
        public double getPrice() { return price; }
        public void setPrice(double price) { this.price = price; }
    }

    /** The implementation. */
    class Shop implements Orders {
        @Override public String greet(String name) { return "hello " + name; }
        @Override public Order find(long id, List<String> fields, Map<String, Integer> limits) {
            return new Order(id, "größte " + fields, new Order(1, "root", null, 0), 12.5);
        }
        @Override public void touch(int[] ids) {}
        @Override public void fail(String why) { throw new IllegalStateException(why); }
    }
}
