import ai.onnxruntime.OrtException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Kafka Streams with a state store and its changelog, the graph called once per event. */
public final class StreamsPeer {
  private static final String STORE = "users";

  private static final class Predict implements Processor<byte[], byte[], byte[], byte[]> {
    private final GraphStep step;
    private final ObjectReader clicks = new ObjectMapper().readerFor(Click.class);
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<String, byte[]> users;

    Predict(GraphStep step) {
      this.step = step;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
      context = given;
      users = given.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      try {
        Click click = clicks.readValue(record.value());
        byte[] kept = users.get(click.user_id());
        GraphStep.Answer answer =
            step.advance(click, kept == null ? null : Past.fromBytes(kept));
        users.put(click.user_id(), answer.past().toBytes());
        context.forward(record.withValue(answer.prediction()));
      } catch (IOException | OrtException error) {
        throw new IllegalStateException(error);
      }
    }
  }

  public static void main(String[] words) throws IOException, OrtException {
    Map<String, String> given = new HashMap<>();
    for (int place = 0; place < words.length; place += 2) {
      given.put(words[place].substring(2), words[place + 1]);
    }
    GraphStep step = new GraphStep(Path.of(given.get("model")));
    var store = Stores.keyValueStoreBuilder(
        Stores.inMemoryKeyValueStore(STORE), Serdes.String(), Serdes.ByteArray());
    Topology topology = new Topology();
    topology.addSource("clicks", given.get("source"));
    topology.addProcessor("predict", () -> new Predict(step), "clicks");
    topology.addStateStore(store, "predict");
    topology.addSink("predictions", given.get("target"), "predict");

    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("group"));
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("kafka"));
    settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("scratch"));
    settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    KafkaStreams streams = new KafkaStreams(topology, settings);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    streams.setStateListener(
        (now, before) -> {
          if (now == KafkaStreams.State.ERROR) {
            Runtime.getRuntime().halt(1);
          }
        });
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }
}
