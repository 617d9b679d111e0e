import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** One click through the exported graph of a model without dense features. */
final class GraphStep {
  record Answer(byte[] prediction, Past past) {}

  private static final int OTHER_ACTION = 1;
  private static final Set<String> OUTPUTS = Set.of("new_hidden", "top_items", "scores");

  private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
  private final OrtSession session;
  private final JsonFactory json = new JsonFactory();
  private final Map<String, Integer> codes = new HashMap<>();
  private final Map<String, Integer> actionCodes = new HashMap<>();
  private final String[] items;
  private final String[] actions;
  private final long[] gapEdgesMs;
  private final int topK;
  private final boolean resetsAtSession;
  private final OnnxJavaType memoryType;
  private final String version;
  private final Past nobody;

  GraphStep(Path folder) throws IOException, OrtException {
    ObjectMapper mapper = new ObjectMapper();
    JsonNode manifest = mapper.readTree(folder.resolve("manifest.json").toFile());
    JsonNode spec = manifest.get("spec");
    items = mapper.readValue(
        folder.resolve(manifest.get("items_file").asText()).toFile(), String[].class);
    actions = mapper.treeToValue(spec.get("actions"), String[].class);
    gapEdgesMs = mapper.treeToValue(spec.get("gap_edges_ms"), long[].class);
    topK = spec.get("top_k").asInt();
    resetsAtSession = spec.get("reset_at_session").asBoolean();
    boolean isHalf = spec.get("memory_dtype").asText().equals("float16");
    memoryType = isHalf ? OnnxJavaType.FLOAT16 : OnnxJavaType.FLOAT;
    version = spec.get("name").asText() + "-" + manifest.get("fingerprint").asText();
    for (int code = 0; code < items.length; code++) {
      codes.put(items[code], code);
    }
    for (int code = 0; code < actions.length; code++) {
      actionCodes.put(actions[code], code);
    }
    JsonNode step = mapper.readTree(folder.resolve("step.json").toFile());
    float initialLogZ = (float) step.get("initial_log_z").asDouble();
    nobody = new Past(initialHidden(mapper, folder, isHalf), initialLogZ, List.of());
    OrtSession.SessionOptions options = new OrtSession.SessionOptions();
    options.setIntraOpNumThreads(1);
    options.setInterOpNumThreads(1);
    session = environment.createSession(folder.resolve("step.onnx").toString(), options);
  }

  Answer advance(Click click, Past known) throws IOException, OrtException {
    Past past = known;
    if (past == null || (resetsAtSession && past.gapMs(click) >= Past.SESSION_GAP_MS)) {
      past = nobody;
    }
    int action = actionCodes.getOrDefault(click.event_type(), OTHER_ACTION);
    ByteBuffer hidden = direct(past.hidden().length).put(past.hidden()).rewind();
    long[] row = {1};
    long[] cell = {1, 1};
    long[] memory = {1, past.hidden().length / memoryType.size};
    try (OnnxTensor item = ints(codes.get(click.item_id()), row);
        OnnxTensor act = ints(action, row);
        OnnxTensor gap = ints(gapCode(past, click), row);
        OnnxTensor chosen = ints(action, cell);
        OnnxTensor before = OnnxTensor.createTensor(environment, hidden, memory, memoryType);
        OnnxTensor logZ = OnnxTensor.createTensor(
            environment, FloatBuffer.wrap(new float[] {past.logZ()}), cell);
        OrtSession.Result result = session.run(
            Map.of("item", item, "action", act, "gap", gap, "chosen_action", chosen,
                "hidden", before, "log_z", logZ),
            OUTPUTS)) {
      ByteBuffer after = tensor(result, "new_hidden").getByteBuffer();
      byte[] newHidden = new byte[past.hidden().length];
      after.get(newHidden);
      IntBuffer top = tensor(result, "top_items").getIntBuffer();
      FloatBuffer scores = tensor(result, "scores").getFloatBuffer();
      byte[] prediction = prediction(click, top, scores);
      return new Answer(prediction, past.after(click, newHidden, scores.get(2)));
    }
  }

  private static OnnxTensor tensor(OrtSession.Result result, String name) {
    return (OnnxTensor) result.get(name).orElseThrow();
  }

  private OnnxTensor ints(int value, long[] shape) throws OrtException {
    return OnnxTensor.createTensor(environment, IntBuffer.wrap(new int[] {value}), shape);
  }

  private static ByteBuffer direct(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
  }

  private int gapCode(Past past, Click click) {
    if (past.isEmpty()) {
      return 0;
    }
    long gapMs = past.gapMs(click);
    int code = 1;
    while (code <= gapEdgesMs.length && gapEdgesMs[code - 1] <= gapMs) {
      code++;
    }
    return code;
  }

  private byte[] prediction(Click click, IntBuffer top, FloatBuffer scores) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream(2_048);
    try (JsonGenerator out = json.createGenerator(bytes)) {
      out.writeStartObject();
      out.writeStringField("event_id", click.event_id());
      out.writeStringField("user", click.user_id());
      out.writeNumberField("at_ms", click.timestamp());
      out.writeStringField("model", version);
      out.writeArrayFieldStart("items");
      for (int place = 0; place < topK; place++) {
        out.writeStartObject();
        out.writeStringField("item_id", items[top.get(place)]);
        double share = Math.exp(scores.get(3 + place));
        out.writeNumberField("probability", Math.rint(share * 1e6) / 1e6);
        out.writeEndObject();
      }
      out.writeEndArray();
      out.writeObjectFieldStart("actions");
      for (int code = 0; code < actions.length; code++) {
        out.writeNumberField(actions[code], (float) Math.exp(scores.get(3 + topK + code)));
      }
      out.writeEndObject();
      out.writeNumberField("surprise", scores.get(0) + scores.get(1));
      out.writeEndObject();
    }
    return bytes.toByteArray();
  }

  /** The memory of a user who has done nothing, from a safetensors file. */
  private static byte[] initialHidden(ObjectMapper mapper, Path folder, boolean isHalf)
      throws IOException {
    ByteBuffer file = ByteBuffer.wrap(Files.readAllBytes(folder.resolve("model.safetensors")))
        .order(ByteOrder.LITTLE_ENDIAN);
    byte[] header = new byte[(int) file.getLong()];
    file.get(header);
    JsonNode range = mapper.readTree(header).get("initial_hidden").get("data_offsets");
    int begin = file.position() + range.get(0).asInt();
    int width = (range.get(1).asInt() - range.get(0).asInt()) / 4;
    ByteBuffer kept = ByteBuffer.allocate(width * (isHalf ? 2 : 4)).order(ByteOrder.LITTLE_ENDIAN);
    for (int place = 0; place < width; place++) {
      float value = file.getFloat(begin + 4 * place);
      if (isHalf) {
        kept.putShort(Float.floatToFloat16(value));
      } else {
        kept.putFloat(value);
      }
    }
    return kept.array();
  }
}
