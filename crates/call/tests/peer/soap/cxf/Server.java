import jakarta.jws.WebMethod;
import jakarta.jws.WebParam;
import jakarta.jws.WebResult;
import jakarta.jws.WebService;
import jakarta.jws.soap.SOAPBinding;
import jakarta.xml.bind.annotation.XmlAccessType;
import jakarta.xml.bind.annotation.XmlAccessorType;
import jakarta.xml.bind.annotation.XmlAttribute;
import jakarta.xml.bind.annotation.XmlElement;
import jakarta.xml.bind.annotation.XmlSeeAlso;
import jakarta.xml.bind.annotation.XmlType;
import jakarta.xml.ws.BindingType;
import jakarta.xml.ws.Provider;
import jakarta.xml.ws.ServiceMode;
import jakarta.xml.ws.WebFault;
import jakarta.xml.ws.WebServiceProvider;
import jakarta.xml.ws.soap.Addressing;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.net.ServerSocket;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.xml.datatype.XMLGregorianCalendar;
import javax.xml.namespace.QName;
import javax.xml.transform.Source;
import org.apache.cxf.binding.soap.SoapFault;
import org.apache.cxf.jaxws.EndpointImpl;
import org.apache.cxf.ws.security.wss4j.WSS4JInInterceptor;
import org.apache.wss4j.common.ext.WSPasswordCallback;

/**
 * Services of Apache CXF, with what they get validated against their schemas. Prints its port.
 *
 * <p>Each line on standard input ("name, path of a WSDL, service, port", separated by tabs, "rpc" behind them for that style) starts a service by that WSDL at
 * "/name" that answers each valid message with the fault "taken"; a line on standard output says whether it runs. It
 * ends when its standard input does.
 */
public final class Server {
  static final String NS = "urn:example:cxf";

  @XmlAccessorType(XmlAccessType.FIELD)
  @XmlType(name = "Asset", namespace = NS)
  @XmlSeeAlso({Battery.class, Panel.class})
  public abstract static class Asset {
    @XmlElement(required = true)
    public String name;

    @XmlAttribute(required = true)
    public int id;
  }

  @XmlAccessorType(XmlAccessType.FIELD)
  @XmlType(name = "Battery", namespace = NS)
  public static class Battery extends Asset {
    @XmlElement(required = true)
    public BigDecimal capacity;

    @XmlElement(nillable = true)
    public List<Double> levels = new ArrayList<>();
  }

  @XmlAccessorType(XmlAccessType.FIELD)
  @XmlType(name = "Panel", namespace = "urn:example:roof")
  public static class Panel extends Asset {
    public Side side;
    public XMLGregorianCalendar since;
    public byte[] picture;
  }

  public enum Side { NORTH, SOUTH }

  @XmlAccessorType(XmlAccessType.FIELD)
  @XmlType(name = "Reason", namespace = NS)
  public static class Reason {
    @XmlElement(required = true)
    public String asset;

    public long code;
  }

  @WebFault(name = "UnknownAsset", targetNamespace = NS)
  public static class UnknownAsset extends Exception {
    private final Reason info;

    public UnknownAsset(String message, Reason info) {
      super(message);
      this.info = info;
    }

    public Reason getFaultInfo() {
      return info;
    }
  }

  /** What all services do. */
  static class Work {
    static Asset echo(Asset asset) throws UnknownAsset {
      if (asset != null && asset.name.equals("nobody")) {
        Reason reason = new Reason();
        reason.asset = asset.name;
        reason.code = 9007199254740993L;
        throw new UnknownAsset("there is no such asset", reason);
      }
      return asset;
    }
  }

  @WebService(name = "Wrapped", serviceName = "WrappedService", portName = "WrappedPort", targetNamespace = NS)
  public static class Wrapped {
    @WebMethod
    @WebResult(name = "asset")
    public Asset echo(@WebParam(name = "asset") Asset asset) throws UnknownAsset {
      return Work.echo(asset);
    }

    @WebMethod
    @WebResult(name = "assets")
    public List<Asset> all(@WebParam(name = "count") int count) {
      List<Asset> all = new ArrayList<>();
      for (int number = 0; number < count; number++) {
        Battery battery = new Battery();
        battery.name = "b" + number;
        battery.id = number;
        battery.capacity = new BigDecimal("13.50");
        battery.levels.add(0.5);
        battery.levels.add(null);
        all.add(battery);
      }
      return all;
    }

    @WebMethod
    @WebResult(name = "who")
    public String who(@WebParam(name = "session", header = true) String session, @WebParam(name = "suffix") String suffix) {
      return session + suffix;
    }
  }

  @WebService(name = "Wrapped12", serviceName = "Wrapped12Service", portName = "Wrapped12Port", targetNamespace = NS)
  @BindingType("http://www.w3.org/2003/05/soap/bindings/HTTP/")
  public static class Wrapped12 extends Wrapped {}

  @WebService(name = "Bare", serviceName = "BareService", portName = "BarePort", targetNamespace = NS)
  @SOAPBinding(parameterStyle = SOAPBinding.ParameterStyle.BARE)
  public static class Bare {
    @WebMethod
    @WebResult(name = "echoed")
    public Asset echo(@WebParam(name = "toEcho") Asset asset) throws UnknownAsset {
      return Work.echo(asset);
    }

    @WebMethod
    @WebResult(name = "doubled")
    public int twice(@WebParam(name = "number") int number) {
      return 2 * number;
    }
  }

  @WebService(name = "Rpc", serviceName = "RpcService", portName = "RpcPort", targetNamespace = NS)
  @SOAPBinding(style = SOAPBinding.Style.RPC)
  public static class Rpc {
    @WebMethod
    @WebResult(name = "asset")
    public Asset echo(@WebParam(name = "first") Asset asset, @WebParam(name = "second") String ignored) throws UnknownAsset {
      return Work.echo(asset);
    }
  }

  @WebService(name = "Addressed", serviceName = "AddressedService", portName = "AddressedPort", targetNamespace = NS)
  @Addressing(required = true)
  public static class Addressed extends Wrapped {}

  @WebService(name = "Secured", serviceName = "SecuredService", portName = "SecuredPort", targetNamespace = NS)
  public static class Secured extends Wrapped {}

  @WebServiceProvider
  @ServiceMode(jakarta.xml.ws.Service.Mode.PAYLOAD)
  public static class Taker implements Provider<Source> {
    @Override
    public Source invoke(Source source) {
      throw new SoapFault("taken", new QName("urn:example:taken", "Taken"));
    }
  }

  static EndpointImpl endpoint(Object implementor, Map<String, Object> more) {
    EndpointImpl endpoint = new EndpointImpl(implementor);
    Map<String, Object> properties = new HashMap<>(more);
    properties.put("schema-validation-enabled", "true");
    endpoint.setProperties(properties);
    return endpoint;
  }

  static WSS4JInInterceptor checking() {
    Map<String, Object> properties = new HashMap<>();
    properties.put("action", "UsernameToken Timestamp");
    properties.put("passwordType", "PasswordDigest");
    properties.put("passwordCallbackRef", (CallbackHandler) callbacks -> {
      for (Callback callback : callbacks) {
        if (callback instanceof WSPasswordCallback wanted && "ops".equals(wanted.getIdentifier())) {
          wanted.setPassword("hunter2");
        }
      }
    });
    return new WSS4JInInterceptor(properties);
  }

  static String start(String base, String line) {
    String[] parts = line.split("\t");
    try {
      EndpointImpl endpoint = endpoint(new Taker(), Map.of());
      if (parts.length > 4) {
        // What is no element of a schema, as the wrapper of rpc, a provider's payload cannot be validated with.
        endpoint.setProperties(new HashMap<>());
      }
      endpoint.setWsdlLocation(new java.io.File(parts[1]).toURI().toString());
      endpoint.setServiceName(QName.valueOf(parts[2]));
      endpoint.setEndpointName(QName.valueOf(parts[3]));
      endpoint.publish(base + parts[0]);
      return "runs";
    } catch (Exception | LinkageError error) {
      Throwable cause = error;
      while (cause.getCause() != null) {
        cause = cause.getCause();
      }
      return ("failed: " + cause).replaceAll("\\s+", " ");
    }
  }

  public static void main(String[] arguments) throws Exception {
    Logger.getLogger("").setLevel(Level.OFF);
    int port;
    try (ServerSocket socket = new ServerSocket(0)) {
      port = socket.getLocalPort();
    }
    String base = "http://127.0.0.1:" + port + "/";
    endpoint(new Wrapped(), Map.of()).publish(base + "wrapped");
    endpoint(new Wrapped12(), Map.of()).publish(base + "wrapped12");
    endpoint(new Bare(), Map.of()).publish(base + "bare");
    EndpointImpl rpc = endpoint(new Rpc(), Map.of());
    // CXF 4.2 cannot validate a part of a simple type by itself.
    rpc.setProperties(new HashMap<>());
    rpc.publish(base + "rpc");
    endpoint(new Addressed(), Map.of()).publish(base + "addressed");
    EndpointImpl secured = endpoint(new Secured(), Map.of());
    secured.getInInterceptors().add(checking());
    secured.publish(base + "secured");
    System.out.println(port);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(start(base, line));
    }
    System.exit(0);
  }
}
